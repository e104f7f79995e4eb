#include "codec/accelerated_encoders.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

namespace godwit {

namespace {

// A device of 12 GB/s that a few lanes share; the first answers correct it.
constexpr double kFirstPace = 0.3;
constexpr double kFadePace = 1.0 / 16;
// Late is what takes several times as long as its pace lets expect. A CPU has encoded a block within the former time.
// The latter is what a device may take that is behind, and at work: what is taken from it is work for nothing.
constexpr double kTimesThePace = 4;
constexpr Duration kNeverLate = std::chrono::milliseconds(1);
constexpr Duration kAlwaysLate = std::chrono::milliseconds(20);

}  // namespace

/// One lane's.
class AcceleratedEncoder final : public Encoder {
 public:
  AcceleratedEncoder(AcceleratedEncoders& all, const CodecChoice& choice, std::unique_ptr<DeviceQueue> device,
                     std::unique_ptr<Encoder> cpu)
      : all_(all),
        choice_(choice),
        device_(std::move(device)),
        cpu_(std::move(cpu)),
        depth_(device_ ? device_->depth() : cpu_->depth()) {}

  CodecId id() const noexcept override { return choice_.id; }
  std::size_t depth() const noexcept override { return depth_; }

  /// A lane waits for its device only once it has all its requests there: so the price of a byte rises steeply towards
  /// that, up to what the device takes for one of this lane's.
  std::optional<double> device_wait_per_byte() const noexcept override {
    if (!device_ || all_.lost()) return std::nullopt;
    const double full = static_cast<double>(at_device_.size()) / static_cast<double>(depth_);
    return pace_ * full * full * full * full;
  }

  Result<std::size_t> submit(std::span<const EncodeJob> jobs) override {
    if (jobs.empty()) return std::size_t{0};
    const EncodeJob& job = jobs.front();
    if (job.by_cpu) return do_here(job);
    if (under_way() >= depth_) return std::size_t{0};
    if (job.input.size() >= kLeastForDevice && device_) {
      if (all_.lost()) leave_device();
      if (device_ && take(job)) return std::size_t{1};
    }
    return job.changes ? std::size_t{0} : give_to_cpu(job);
  }

  Result<std::size_t> poll(std::span<EncodeDone> done) override {
    hear_device([&](std::span<DeviceDone> answers) { return device_->poll(answers); });
    if (at_cpu_ > 0) TRY(hear_cpu([&](std::span<EncodeDone> answers) { return cpu_->poll(answers); }));
    return hand_out(done);
  }

  Result<std::size_t> collect(std::span<EncodeDone> done, std::stop_token stop) override {
    return collect_until(done, std::move(stop), Instant::max());
  }
  Result<std::size_t> collect_until(std::span<EncodeDone> done, std::stop_token stop, Instant until) override {
    if (done.empty() || stop.stop_requested()) return std::size_t{0};
    while (!stop.stop_requested()) {
      if (const std::size_t n = TRY(poll(done)); n > 0) return n;
      if (at_device_.empty() && at_cpu_ == 0) break;
      if (at_cpu_ > 0) {
        TRY(hear_cpu([&](std::span<EncodeDone> answers) { return cpu_->collect(answers, stop); }));
      } else {
        hear_device([&](std::span<DeviceDone> answers) { return device_->collect_until(answers, stop, until); });
        if (std::chrono::steady_clock::now() >= until) return poll(done);
      }
    }
    return std::size_t{0};
  }

  bool reads_in_place() const noexcept override { return device_ && !all_.lost(); }
  bool is_late(std::uint64_t ticket) const noexcept override {
    const auto sent = std::ranges::find(sent_, ticket, &Sent::ticket);
    if (sent == sent_.end()) return false;
    const Duration expected(static_cast<Duration::rep>(kTimesThePace * pace_ * static_cast<double>(sent->bytes)));
    return std::chrono::steady_clock::now() - sent->at > std::clamp(expected, kNeverLate, kAlwaysLate);
  }
  void forsake(std::uint64_t ticket, std::vector<std::byte> input) override {
    const auto job = std::ranges::find(at_device_, ticket, &EncodeJob::ticket);
    if (job == at_device_.end()) return;
    device_->forsake(ticket, std::move(input));
    all_.busy_.fetch_add(1, std::memory_order_relaxed);
    learn_pace(ticket);
    bytes_at_device_ -= job->input.size();
    at_device_.erase(job);
    has_forsaken_ = true;
  }

 private:
  std::size_t under_way() const noexcept { return at_device_.size() + at_cpu_ + ready_.size() + owed_.size(); }

  bool take(const EncodeJob& job) {
    const DeviceJob asked{.ticket = job.ticket, .input = job.input, .output = job.output, .changes = job.changes};
    const auto taken = device_->submit({&asked, 1});
    if (!taken) {
      all_.failed();
      if (all_.lost()) leave_device();
      return false;
    }
    if (*taken == 0) {
      all_.busy_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    at_device_.push_back(job);
    bytes_at_device_ += job.input.size();
    sent_.push_back({job.ticket, bytes_at_device_, std::chrono::steady_clock::now()});
    return true;
  }

  /// However much is under way: a pool of threads that has its fill does not take it at once.
  Result<std::size_t> do_here(const EncodeJob& job) {
    while (true) {
      const std::size_t taken = TRY(give_to_cpu(job));
      if (taken > 0 || at_cpu_ == 0) return taken;
      TRY(hear_cpu([&](std::span<EncodeDone> answers) { return cpu_->collect(answers, {}); }));
    }
  }

  Result<std::size_t> give_to_cpu(const EncodeJob& job) {
    const std::size_t taken = TRY(cpu_->submit({&job, 1}));
    at_cpu_ += taken;
    // One that answers at once has to be free for the next.
    if (taken > 0) TRY(hear_cpu([&](std::span<EncodeDone> answers) { return cpu_->poll(answers); }));
    return taken;
  }

  template <typename Ask>
  void hear_device(const Ask& ask) {
    if (!device_ || (at_device_.empty() && !has_forsaken_)) return do_owed();
    std::array<DeviceDone, 16> answers;
    const auto heard = ask(answers);
    if (!heard) {
      all_.give_up(heard.error().message);
      leave_device();
      return do_owed();
    }
    for (const DeviceDone& answer : std::span(answers).first(*heard)) {
      const auto job = std::ranges::find(at_device_, answer.ticket, &EncodeJob::ticket);
      if (job == at_device_.end()) continue;
      if (answer.busy) all_.busy_.fetch_add(1, std::memory_order_relaxed);
      if (!answer.broken.empty()) all_.give_up(answer.broken);
      if (answer.changed) all_.changed_.fetch_add(1, std::memory_order_relaxed);
      if (answer.failed) {
        if (!answer.busy && !answer.changed) all_.failed();
        owe(*job);
      } else {
        all_.succeeded(*job, answer.size);
        ready_.push_back({.ticket = answer.ticket, .size = answer.size, .worked = answer.worked});
      }
      learn_pace(answer.ticket);
      bytes_at_device_ -= job->input.size();
      at_device_.erase(job);
    }
    if (all_.lost()) leave_device();
    do_owed();
  }

  template <typename Ask>
  Status hear_cpu(const Ask& ask) {
    std::array<EncodeDone, 16> answers;
    const std::size_t heard = TRY(ask(answers));
    for (EncodeDone& answer : std::span(answers).first(heard)) {
      answer.by_cpu = true;
      ready_.push_back(answer);
    }
    at_cpu_ -= heard;
    return {};
  }

  /// What the device has not done, as far as the CPU takes it now. What cannot be encoded goes raw.
  void do_owed() {
    while (!owed_.empty()) {
      const auto taken = give_to_cpu(owed_.back());
      if (taken && *taken == 0 && at_cpu_ > 0) return;
      if (!taken || *taken == 0) ready_.push_back({.ticket = owed_.back().ticket, .failed = true});
      owed_.pop_back();
    }
  }

  void owe(const EncodeJob& job) {
    if (job.changes) {
      ready_.push_back({.ticket = job.ticket, .unread = true});
    } else {
      owed_.push_back(job);
    }
  }

  /// First it goes, because until then it may work on its blocks.
  void leave_device() {
    device_.reset();
    bytes_at_device_ = 0;
    sent_.clear();
    for (const EncodeJob& job : at_device_) owe(job);
    at_device_.clear();
  }

  /// What was under way with a request has gone by in the time that it took.
  void learn_pace(std::uint64_t ticket) {
    const auto sent = std::ranges::find(sent_, ticket, &Sent::ticket);
    if (sent == sent_.end()) return;
    const Duration took = std::chrono::steady_clock::now() - sent->at;
    const double pace = static_cast<double>(took.count()) / static_cast<double>(std::max<std::size_t>(sent->bytes, 1));
    pace_ += kFadePace * (pace - pace_);
    sent_.erase(sent);
  }

  std::size_t hand_out(std::span<EncodeDone> done) {
    const std::size_t n = std::min(done.size(), ready_.size());
    std::copy_n(ready_.begin(), n, done.begin());
    ready_.erase(ready_.begin(), ready_.begin() + static_cast<std::ptrdiff_t>(n));
    return n;
  }

  AcceleratedEncoders& all_;
  CodecChoice choice_;
  std::unique_ptr<DeviceQueue> device_;  ///< null once it is lost
  std::unique_ptr<Encoder> cpu_;
  std::size_t depth_;
  struct Sent {
    std::uint64_t ticket;
    std::size_t bytes;  ///< that were at the device then, its own too
    std::chrono::steady_clock::time_point at;
  };
  std::vector<EncodeJob> at_device_;
  std::vector<Sent> sent_;
  std::size_t bytes_at_device_ = 0;
  double pace_ = kFirstPace;     ///< nanoseconds that the device takes for a byte of this lane's
  bool has_forsaken_ = false;    ///< some time ago: the device may still be at work on it
  std::vector<EncodeJob> owed_;  ///< by the CPU
  std::size_t at_cpu_ = 0;
  std::vector<EncodeDone> ready_;
};

AcceleratedEncoders::AcceleratedEncoders(std::unique_ptr<Accelerator> accelerator, EncoderProvider& cpu,
                                         std::function<void(std::string_view)> on_note)
    : accelerator_(std::move(accelerator)), cpu_(cpu), on_note_(std::move(on_note)) {}

AcceleratedEncoders::~AcceleratedEncoders() = default;

Result<std::unique_ptr<Encoder>> AcceleratedEncoders::lend(const CodecChoice& choice, unsigned given_up) {
  CodecChoice by_cpu = choice;
  by_cpu.device = CodecDevice::kCpu;
  auto cpu = TRY(cpu_.lend(by_cpu, given_up));
  if (choice.id != CodecId::kDeflate || cpu == nullptr) return cpu;
  std::unique_ptr<DeviceQueue> none;
  // Also without the device: its blocks are counted as the CPU's.
  if (given_up > 0 || lost())
    return std::make_unique<AcceleratedEncoder>(*this, choice, std::move(none), std::move(cpu));
  auto device = accelerator_->queue();
  if (!device) {
    give_up(device.error().message);
    return std::make_unique<AcceleratedEncoder>(*this, choice, std::move(none), std::move(cpu));
  }
  return std::make_unique<AcceleratedEncoder>(*this, choice, std::move(*device), std::move(cpu));
}

AcceleratorUse AcceleratedEncoders::use() const {
  const std::lock_guard lock(mutex_);
  return {.blocks = blocks_,
          .bytes_before = bytes_before_,
          .bytes_after = bytes_after_,
          .busy = busy_,
          .failed = failed_,
          .in_place = in_place_,
          .changed = changed_,
          .given_up = why_lost_};
}

void AcceleratedEncoders::succeeded(const EncodeJob& job, std::size_t size) noexcept {
  failures_.store(0, std::memory_order_relaxed);
  blocks_.fetch_add(1, std::memory_order_relaxed);
  if (job.changes) in_place_.fetch_add(1, std::memory_order_relaxed);
  bytes_before_.fetch_add(job.input.size(), std::memory_order_relaxed);
  bytes_after_.fetch_add(size == 0 ? job.input.size() : size, std::memory_order_relaxed);
}

void AcceleratedEncoders::failed() {
  failed_.fetch_add(1, std::memory_order_relaxed);
  if (failures_.fetch_add(1, std::memory_order_relaxed) + 1 < kMostFailures) return;
  give_up(fmt::format("{} requests in a row have failed", kMostFailures));
}

void AcceleratedEncoders::give_up(std::string_view why) {
  {
    const std::lock_guard lock(mutex_);
    if (lost_.exchange(true)) return;
    why_lost_ = why;
  }
  if (on_note_) on_note_(fmt::format("{} is given up, and CPUs encode: {}", facts().name, why));
}

}  // namespace godwit
