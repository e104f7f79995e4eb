#include "codec/encoder_pool.h"

#include <algorithm>
#include <array>
#include <map>
#include <system_error>
#include <utility>

#include "base/cpu_account.h"

namespace godwit {

/// One lent encoder's answers, written by threads of the pool.
class EncoderPool::Mailbox {
 public:
  /// Told under the lock: whoever waits for the last answer destroys this.
  void put(const EncodeDone& done) {
    const std::lock_guard lock(mutex_);
    answers_.push_back(done);
    changed_.notify_all();
  }
  std::size_t take(std::span<EncodeDone> out) {
    const std::lock_guard lock(mutex_);
    return take_some(out);
  }
  std::size_t await(std::span<EncodeDone> out, const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, stop, [this] { return !answers_.empty(); });
    return take_some(out);
  }
  /// Until `count` answers are here, heard or not. Jobs that a thread has begun end by themselves.
  void await_all(std::size_t count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return answers_.size() >= count; });
  }

 private:
  std::size_t take_some(std::span<EncodeDone> out) {
    const std::size_t n = std::min(out.size(), answers_.size());
    std::copy_n(answers_.begin(), n, out.begin());
    answers_.erase(answers_.begin(), answers_.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

  std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<EncodeDone> answers_;
};

/// One lane's.
class PooledEncoder final : public Encoder {
 public:
  PooledEncoder(EncoderPool& pool, const CodecChoice& choice, std::unique_ptr<Encoder> own)
      : pool_(pool), choice_(choice), own_(std::move(own)) {}
  ~PooledEncoder() override {
    at_pool_ -= pool_.forget(answers_);
    answers_.await_all(at_pool_);
  }

  CodecId id() const noexcept override { return choice_.id; }
  std::size_t depth() const noexcept override { return EncoderPool::kDepth; }

  Result<std::size_t> submit(std::span<const EncodeJob> jobs) override {
    if (jobs.empty() || at_pool_ + here_.size() >= depth()) return std::size_t{0};
    if (pool_.take({jobs.front(), choice_, &answers_})) {
      ++at_pool_;
      return std::size_t{1};
    }
    TRY(encode_here(jobs.front()));
    return std::size_t{1};
  }

  Result<std::size_t> poll(std::span<EncodeDone> done) override {
    const std::size_t n = std::min(done.size(), here_.size());
    std::copy_n(here_.begin(), n, done.begin());
    here_.erase(here_.begin(), here_.begin() + static_cast<std::ptrdiff_t>(n));
    return n + heard(at_pool_ == 0 ? 0 : answers_.take(done.subspan(n)));
  }

  Result<std::size_t> collect(std::span<EncodeDone> done, std::stop_token stop) override {
    if (stop.stop_requested() || done.empty()) return std::size_t{0};
    const std::size_t there = TRY(poll(done));
    if (there > 0 || at_pool_ == 0) return there;
    // Rather than wait for a thread that has not even begun.
    if (const auto job = pool_.take_back(answers_)) {
      --at_pool_;
      if (!encode_here(*job)) here_.push_back({.ticket = job->ticket, .failed = true});
      return poll(done);
    }
    return heard(answers_.await(done, stop));
  }

 private:
  Status encode_here(const EncodeJob& job) {
    std::array<EncodeDone, 1> done;
    const bool taken = TRY(own_->submit({&job, 1})) == 1;
    if (!taken || TRY(own_->collect(done, {})) == 0) return fail(ErrorKind::kIo, "an encoder gave no answer");
    here_.push_back(done[0]);
    return {};
  }
  std::size_t heard(std::size_t count) noexcept {
    at_pool_ -= count;
    return count;
  }

  EncoderPool& pool_;
  CodecChoice choice_;
  std::unique_ptr<Encoder> own_;
  std::vector<EncodeDone> here_;  ///< answers of own_
  std::size_t at_pool_ = 0;       ///< jobs that the pool has taken and whose answers have not been heard
  EncoderPool::Mailbox answers_;
};

EncoderPool::EncoderPool(EncoderProvider& encoders, unsigned most, std::function<void()> on_start)
    : encoders_(encoders), most_(most), on_start_(std::move(on_start)) {}

EncoderPool::~EncoderPool() {
  for (auto& thread : threads_) thread.request_stop();
}

Result<std::unique_ptr<Encoder>> EncoderPool::lend(const CodecChoice& choice, unsigned given_up) {
  auto own = TRY(encoders_.lend(choice, given_up));
  if (own == nullptr || own->depth() > 1 || most_ == 0) return own;
  return std::make_unique<PooledEncoder>(*this, choice, std::move(own));
}

void EncoderPool::allow(unsigned threads) {
  threads = std::min(threads, most_);
  while (threads_.size() < threads && !no_more_) {
    try {
      threads_.push_back(job_thread([this](const std::stop_token& stop) { run(stop); }));
    } catch (const std::system_error&) {
      no_more_ = true;  // a limit of processes or memory: it goes on with those that there are
    }
  }
  const std::lock_guard lock(mutex_);
  allowed_ = std::min(threads, static_cast<unsigned>(threads_.size()));
}

EncoderPool::Use EncoderPool::use() const {
  const std::lock_guard lock(mutex_);
  return {.allowed = allowed_, .at_work = at_work_, .most_at_work = most_at_work_, .blocks = blocks_};
}

/// False: no thread is free.
bool EncoderPool::take(const Job& job) {
  {
    const std::lock_guard lock(mutex_);
    if (at_work_ >= allowed_) return false;
    most_at_work_ = std::max(most_at_work_, ++at_work_);
    waiting_.push_back(job);
  }
  changed_.notify_one();
  return true;
}

/// Takes back what no thread has begun; gives how many jobs that were.
std::size_t EncoderPool::forget(const Mailbox& answers) {
  const std::lock_guard lock(mutex_);
  const std::size_t gone = std::erase_if(waiting_, [&](const Job& job) { return job.answers == &answers; });
  at_work_ -= static_cast<unsigned>(gone);
  return gone;
}

/// The oldest job of an encoder that no thread has begun.
std::optional<EncodeJob> EncoderPool::take_back(const Mailbox& answers) {
  const std::lock_guard lock(mutex_);
  const auto found = std::ranges::find(waiting_, &answers, &Job::answers);
  if (found == waiting_.end()) return std::nullopt;
  const EncodeJob job = found->job;
  waiting_.erase(found);
  --at_work_;
  return job;
}

void EncoderPool::run(const std::stop_token& stop) {
  if (on_start_) on_start_();
  std::map<std::pair<CodecId, int>, std::unique_ptr<Encoder>> encoders;
  while (true) {
    std::unique_lock lock(mutex_);
    if (!changed_.wait(lock, stop, [this] { return !waiting_.empty(); })) return;
    const Job taken = waiting_.front();
    waiting_.pop_front();
    lock.unlock();

    const Duration began = thread_cpu_time();
    auto& encoder = encoders[{taken.choice.id, taken.choice.level}];
    EncodeDone done = encode(encoder, taken);
    done.worked = thread_cpu_time() - began;

    lock.lock();
    --at_work_;
    ++blocks_;
    lock.unlock();
    taken.answers->put(done);  // from here on its encoder may be gone
  }
}

/// Lends itself the encoder when it is first needed.
EncodeDone EncoderPool::encode(std::unique_ptr<Encoder>& encoder, const Job& job) {
  const EncodeDone failed{.ticket = job.job.ticket, .failed = true};
  if (encoder == nullptr) {
    auto lent = encoders_.lend(job.choice, 0);
    if (!lent || *lent == nullptr) return failed;
    encoder = std::move(*lent);
  }
  std::array<EncodeDone, 1> done;
  const auto taken = encoder->submit({&job.job, 1});
  if (!taken || *taken == 0) return failed;
  const auto heard = encoder->collect(done, {});
  return heard && *heard == 1 ? done[0] : failed;
}

}  // namespace godwit
