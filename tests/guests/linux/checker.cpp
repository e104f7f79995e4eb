// See checker.h.
#include "checker.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

namespace godwit::guest {
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 10ms;  // short enough to spread the writes, long enough to cost nothing

// After a pause the writer does not catch up: a burst would be a load that nobody asked for.
constexpr double kLongestTickSeconds = 0.1;

// verify_all checks this much between two looks at the writer's rate, so that writing goes on meanwhile.
constexpr std::size_t kPagesPerHastyTick = 2048;

// ... and lets go of the lock for this long, or those who wait for it might never get it.
constexpr auto kHastyPause = 200us;

constexpr std::uint64_t kErrorsPrinted = 20;

constexpr Word kFreedSeed = 0xf4eed;

}  // namespace

bool Checker::prepare(const CheckerSetup& setup) {
  setup_ = setup;
  Random random(0x60d817);
  content_ = std::make_unique<StaticArea>(setup.content_pages);
  random_ = std::make_unique<StaticArea>(setup.random_pages);
  if (!content_->fill_from(setup.disk)) {
    return false;
  }
  random_->fill_with_random(random);
  writer_ = std::make_unique<WriterArea>(setup.writer_pages, *content_, Random(random.next()));
  areas_ = {content_.get(), random_.get(), writer_.get()};
  if (setup.redis_keys > 0) {
    redis_ = std::make_unique<RedisLoad>(Random(random.next()));
    if (!redis_->start(setup.redis_keys)) {
      return false;
    }
    std::thread([this] { redis_->run(); }).detach();
  }
  if (!set_load(setup.load, setup.rate)) {
    std::printf("GODWIT-GUEST has no %s\n", name_of(setup.load));
    return false;
  }
  return leave_freed();
}

void Checker::run() {
  auto last = std::chrono::steady_clock::now();
  for (;;) {
    std::this_thread::sleep_for(waiting_ > 0 ? kHastyPause : std::chrono::microseconds(kTick));
    const auto now = std::chrono::steady_clock::now();
    const std::lock_guard lock(mutex_);
    tick(std::min(std::chrono::duration<double>(now - last).count(), kLongestTickSeconds));
    last = now;
  }
}

void Checker::tick(double seconds) {
  owed_writes_ += load_ == Load::kRedis ? 0 : static_cast<double>(rate_.load()) * seconds;
  for (; owed_writes_ >= 1; owed_writes_ -= 1) {
    writer_->rewrite(load_);
  }
  writes_ = writer_->writes();
  owed_checks_ += static_cast<double>(setup_.checked_pages_per_second) * seconds;
  auto pages = static_cast<std::size_t>(owed_checks_);
  owed_checks_ -= static_cast<double>(pages);
  if (waiting_ > 0) {
    pages = kPagesPerHastyTick;
  }
  verify(pages);
}

void Checker::verify(std::size_t pages) {
  for (; pages > 0; --pages) {
    while (area_at_ < areas_.size() && page_at_ == areas_[area_at_]->pages()) {
      ++area_at_;
      page_at_ = 0;
    }
    if (area_at_ == areas_.size()) {
      area_at_ = 0;
      if (!writer_->adds_up()) {
        ++errors_;
        std::fprintf(stderr, "GODWIT-GUEST ERROR: versions do not add up\n");
      }
      ++passes_;
      pass_done_.notify_all();
      return;
    }
    const Area& area = *areas_[area_at_];
    if (!area.holds(page_at_)) {
      note_error(area, page_at_);
    }
    ++page_at_;
  }
}

void Checker::note_error(const Area& area, std::size_t page) {
  if (++errors_ <= kErrorsPrinted) {
    const char* which = &area == writer_.get() ? "writer" : &area == random_.get() ? "random" : "content";
    std::fprintf(stderr, "GODWIT-GUEST ERROR: page %zu of area %s is wrong\n", page, which);
  }
}

CheckerState Checker::state() const noexcept {
  CheckerState state{errors_, passes_, writes_, load_, rate_};
  if (redis_) {
    state.errors += redis_->refused();
    state.writes += redis_->writes();
  }
  return state;
}

bool Checker::set_load(Load load, std::uint64_t rate) {
  if (load == Load::kRedis && !redis_) {
    return false;
  }
  if (redis_) {
    redis_->set_rate(load == Load::kRedis ? rate : 0);
  }
  const std::lock_guard lock(mutex_);
  load_ = load;
  rate_ = rate;
  owed_writes_ = 0;
  return true;
}

void Checker::renew(Load load) {
  const std::lock_guard lock(mutex_);
  writer_->renew(load);
  writes_ = writer_->writes();
}

CheckerState Checker::verify_all() {
  ++waiting_;
  {
    std::unique_lock lock(mutex_);
    // The pass under way began before the call: start again instead of waiting for two.
    area_at_ = 0;
    page_at_ = 0;
    const std::uint64_t target = passes_ + 1;
    pass_done_.wait(lock, [&] { return passes_ >= target; });
  }
  --waiting_;
  if (redis_) {
    errors_ += redis_->verify();
  }
  return state();
}

void Checker::free_again() {
  if (!leave_freed()) {
    ++errors_;
  }
}

/// Freed memory is like the memory in use: as large a part of it is random.
bool Checker::leave_freed() {
  const std::size_t kept = setup_.content_pages + setup_.random_pages;
  const std::size_t random_pages = kept == 0 ? 0 : setup_.freed_pages * setup_.random_pages / kept;
  Random random(kFreedSeed + ++times_freed_);
  return leave_freed_memory(setup_.freed_pages, random_pages, setup_.disk, random);
}

}  // namespace godwit::guest
