// Intel IAA by QPL.
//
// QPL's jobs are asynchronous by themselves: a lane submits and checks its own, and no thread waits. The device reads a
// lane's block at the address where the lane has it (shared virtual memory: without it, it has no work queue for us).
// What it writes goes into memory of the queue's own first, which is left behind with the job if the device hangs: so
// nothing is ever written to a block that the lane has taken back.
//
// What a job of QPL's goes through:
//
//   submit --> statistics --> encoding --> verifying --> answer          check() hands each step to the device
//                  |   ^           |
//                  +---+ busy      + busy: the last step is never submitted, and check() says "under way" for ever
//
// A queue that is full within is not a failure: before the encoding the job stays, after it the CPU does the block.
#include "codec/qpl_abi.h"

#include <fmt/format.h>
#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "codec/accelerator.h"
#include "codec/answer_times.h"
#include "codec/codecs.h"
#include "codec/leave_behind.h"
#include "codec/shared_library.h"

namespace godwit {

namespace {

// Of one lane, as for QAT (request_crew.cpp).
constexpr std::size_t kJobs = 16;
constexpr std::size_t kJobAlignment = 64;
// A library that wants more than this for a job is not the one that is meant.
constexpr std::uint32_t kLargestJob = 16 << 20;
// How a lane that has nothing else to do waits: a device takes some tens of microseconds for a chunk.
constexpr unsigned kLooksAtOnce = 64;
constexpr Duration kShortSleep = std::chrono::microseconds(20);

constexpr std::array kQplNames = {"libqpl.so.1", "libqpl.so"};

struct QplCalls {
  explicit QplCalls(SharedLibrary from) : library(std::move(from)) {}
  Status bind() {
    return library.bind("qpl_get_job_size", job_size, "qpl_init_job", init, "qpl_submit_job", submit, "qpl_check_job",
                        check, "qpl_fini_job", fini);
  }

  SharedLibrary library;
  qpl::GetJobSize* job_size = nullptr;
  qpl::InitJob* init = nullptr;
  qpl::SubmitJob* submit = nullptr;
  qpl::CheckJob* check = nullptr;
  qpl::FiniJob* fini = nullptr;
};

std::string why_no_iaa(int status) {
  switch (status) {
    case qpl::kHardwareNotSupported:
      return "QPL does not support IAA on this host: it needs a Xeon of the 4th generation or later and Linux 5.18";
    case qpl::kNoAccelConfig:
      return "QPL finds no libaccel-config: install libaccel-config1";
    case qpl::kAccelConfigError:
      return "libaccel-config fails: is the module idxd loaded, and is this user root or in the work queue's group?";
    case qpl::kNoWorkQueues:
    case qpl::kNotSupportedByQueue:
      return "no IAA work queue of type `user` is enabled: boot with intel_iommu=on,sm_on (shared virtual memory), "
             "then "
             "`accel-config load-config` and `accel-config enable-wq iax1/wq1.0`";
    default:
      return fmt::format("QPL's status is {}", status);
  }
}

std::uint8_t* qpl_bytes(const std::byte* bytes) {
  return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(bytes));
}

struct FreeMemory {
  void operator()(void* memory) const noexcept { std::free(memory); }
};

/// Requests that the devices' queues have room for, all lanes together.
class QueueRoom {
 public:
  explicit QueueRoom(unsigned entries) : entries_(entries) {}
  bool take() noexcept {
    if (entries_ == 0) return true;
    if (taken_.fetch_add(1, std::memory_order_relaxed) < entries_) return true;
    give();
    return false;
  }
  void give() noexcept {
    if (entries_ != 0) taken_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  unsigned entries_;  ///< 0: not known
  std::atomic<unsigned> taken_{0};
};

/// What all lanes share.
struct IaaState {
  explicit IaaState(const AcceleratorSetting& setting)
      : room(setting.queue_entries), times(setting.least_patience, setting.patience) {}
  QueueRoom room;
  AnswerTimes times;
  std::atomic<bool> late{false};  ///< it has not answered in time: nobody waits for it any more
};

class IaaQueue final : public DeviceQueue {
 public:
  IaaQueue(std::shared_ptr<const QplCalls> calls, IaaState& state) : calls_(std::move(calls)), state_(state) {}
  /// What does not end is left to the device, with its memory.
  ~IaaQueue() override {
    const Instant until = Clock::now() + state_.times.patience();
    for (Slot& slot : slots_) {
      if (slot.job == nullptr) continue;
      while (slot.busy && calls_->check(slot.job) == qpl::kBeingProcessed) {
        if (!state_.late && Clock::now() < until) {
          std::this_thread::sleep_for(kShortSleep);
          continue;
        }
        leave_behind(slot.memory.release());
        leave_behind(slot.output.release());
        leave_behind(new std::vector<std::byte>(std::move(slot.input)));
        slot.job = nullptr;
        break;
      }
      if (slot.job == nullptr) continue;
      if (slot.busy) state_.room.give();
      (void)calls_->fini(slot.job);
    }
  }

  Status open() {
    std::uint32_t size = 0;
    if (const int status = calls_->job_size(qpl::kHardwarePath, &size); status != qpl::kOk || size < sizeof(qpl::Job)) {
      return fail(ErrorKind::kUnsupported, why_no_iaa(status));
    }
    if (size > kLargestJob) return fail(ErrorKind::kUnsupported, "QPL's jobs are too large");
    size = (size + kJobAlignment - 1) / kJobAlignment * kJobAlignment;
    for (std::size_t i = 0; i < kJobs; ++i) {
      Slot slot;
      slot.memory.reset(std::aligned_alloc(kJobAlignment, size));
      slot.output.reset(static_cast<std::byte*>(std::aligned_alloc(kJobAlignment, kLongestBlock)));
      if (!slot.memory || !slot.output) return fail(ErrorKind::kIo, "no memory for QPL's jobs");
      std::memset(slot.memory.get(), 0, size);
      auto* const job = static_cast<qpl::Job*>(slot.memory.get());
      if (const int status = calls_->init(qpl::kHardwarePath, job); status != qpl::kOk) {
        return fail(ErrorKind::kUnsupported, why_no_iaa(status));
      }
      slot.job = job;
      slots_.push_back(std::move(slot));
    }
    return {};
  }

  std::size_t depth() const noexcept override { return kJobs; }

  Result<std::size_t> submit(std::span<const DeviceJob> jobs) override {
    std::size_t taken = 0;
    while (taken < jobs.size()) {
      const auto slot = std::ranges::find_if(slots_, [](const Slot& one) { return !one.busy && one.job != nullptr; });
      if (slot == slots_.end()) break;
      const DeviceJob& job = jobs[taken];
      if (job.input.size() > kLongestBlock || job.output.size() > kLongestBlock) {
        return fail(ErrorKind::kInvalidArgument, "a block is too long for a device");
      }
      if (!state_.room.take()) break;
      slot->from = job;
      if (job.changes) slot->seen = checksum(job.input);
      fill(*slot);
      const int status = calls_->submit(slot->job);
      if (status != qpl::kOk) {
        state_.room.give();
        if (status != qpl::kQueuesBusy) renew(*slot);
        if (status == qpl::kQueuesBusy || taken > 0) break;
        return fail(ErrorKind::kIo, why_no_iaa(status));
      }
      slot->busy = true;
      slot->was_refused = slot->is_forsaken = false;
      slot->since = slot->looked_at = slot->began = Clock::now();
      ++taken;
    }
    return taken;
  }

  Result<std::size_t> poll(std::span<DeviceDone> done) override {
    std::size_t n = 0;
    const Instant now = Clock::now();
    for (Slot& slot : slots_) {
      if (n == done.size()) break;
      if (!slot.busy) continue;
      const int status = calls_->check(slot.job);
      // Only while somebody looks, the library hands the next step to the device.
      const Duration patience = state_.times.patience();
      if (now - slot.looked_at > patience / 4) slot.since = now;
      slot.looked_at = now;
      const bool overdue = now - slot.since > patience;
      if (status == qpl::kBeingProcessed) {
        if (!overdue) continue;
        state_.late = true;
        return fail(ErrorKind::kTimedOut, "the device has not answered in time");
      }
      if (status == qpl::kQueuesBusy) {
        slot.was_refused = true;
        // The device has nothing of it now.
        if (slot.job->out_total == 0 && !overdue && !slot.is_forsaken) continue;
      }
      slot.busy = false;
      state_.room.give();
      if (slot.is_forsaken) {
        slot.input = {};
      } else {
        done[n] = answer(slot, status);
        done[n++].busy = slot.was_refused;
      }
      if (status == qpl::kOk) state_.times.learn(now - slot.began);
      if (status != qpl::kOk) renew(slot);
    }
    return n;
  }

  Result<std::size_t> collect_until(std::span<DeviceDone> done, std::stop_token stop, Instant until) override {
    if (done.empty()) return std::size_t{0};
    for (unsigned looks = 0; !stop.stop_requested(); ++looks) {
      if (std::ranges::none_of(slots_, [](const Slot& slot) { return slot.busy && !slot.is_forsaken; })) break;
      if (const std::size_t n = TRY(poll(done)); n > 0) return n;
      if (Clock::now() >= until) break;
      if (looks > kLooksAtOnce) std::this_thread::sleep_for(kShortSleep);
    }
    return std::size_t{0};
  }

  void forsake(std::uint64_t ticket, std::vector<std::byte> input) override {
    for (Slot& slot : slots_) {
      if (!slot.busy || slot.is_forsaken || slot.from.ticket != ticket) continue;
      slot.is_forsaken = true;
      slot.input = std::move(input);
    }
  }

 private:
  using Clock = std::chrono::steady_clock;
  struct Slot {
    std::unique_ptr<void, FreeMemory> memory;
    std::unique_ptr<std::byte, FreeMemory> output;
    qpl::Job* job = nullptr;
    DeviceJob from;
    std::uint32_t seen = 0;  ///< the input's checksum when it was submitted, if it changes
    bool busy = false;
    bool was_refused = false;  ///< a step of it found the device's queue full
    bool is_forsaken = false;
    std::vector<std::byte> input;  ///< what the device reads, once it is forsaken
    Instant began;
    Instant since;  ///< it has been looked at without a break
    Instant looked_at;
  };

  static void fill(Slot& slot) {
    qpl::Job& job = *slot.job;
    const DeviceJob& from = slot.from;
    job.operation = from.decodes ? qpl::kDecompress : qpl::kCompress;
    job.level = qpl::kDefaultLevel;
    job.flags = qpl::kFirst | qpl::kLast | (from.decodes ? 0 : qpl::kDynamicHuffman);
    job.in = qpl_bytes(from.input.data());
    job.in_left = static_cast<std::uint32_t>(from.input.size());
    job.out = qpl_bytes(slot.output.get());
    job.out_left = static_cast<std::uint32_t>(from.output.size());
    job.in_total = 0;
    job.out_total = 0;
    job.crc = 0;
  }

  /// After whatever was not as it should be: a job keeps the state of the step that it was in.
  void renew(Slot& slot) {
    (void)calls_->fini(slot.job);
    if (calls_->init(qpl::kHardwarePath, slot.job) != qpl::kOk) slot.job = nullptr;
  }

  static DeviceDone broken(const Slot& slot, std::string why) {
    return {.ticket = slot.from.ticket, .failed = true, .broken = std::move(why)};
  }
  static std::uint32_t checksum(Bytes bytes) noexcept {
    return crc32_gzip_refl(0, reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
  }
  /// Of an input that changes: whether it has. One that is again as it was is not found out, and counts as a failure.
  static DeviceDone failed(const Slot& slot) {
    const DeviceJob& from = slot.from;
    return {.ticket = from.ticket, .failed = true, .changed = from.changes && checksum(from.input) != slot.seen};
  }

  static DeviceDone answer(Slot& slot, int status) {
    const DeviceJob& from = slot.from;
    const std::size_t size = slot.job->out_total;
    const bool full =
        status == qpl::kMoreOutputNeeded || status == qpl::kOutputTooShort || status == qpl::kOutputOverflow;
    if (!from.decodes && (full || (status == qpl::kOk && size >= from.input.size()))) return {.ticket = from.ticket};
    if (status != qpl::kOk) return failed(slot);
    if (slot.job->in_total != from.input.size() || size > from.output.size()) {
      return broken(slot, "QPL left a part of a block out");
    }
    // Only what both have seen alike is what the lane has looked at.
    if (from.changes && slot.job->crc != slot.seen) return failed(slot);
    if (!from.decodes && !from.changes && slot.job->crc != checksum(from.input)) {
      return broken(slot, "the device answered with another block");
    }
    std::memcpy(from.output.data(), slot.output.get(), size);
    return {.ticket = from.ticket, .size = size};
  }

  std::shared_ptr<const QplCalls> calls_;
  IaaState& state_;
  std::vector<Slot> slots_;
};

class Iaa final : public Accelerator {
 public:
  Iaa(std::shared_ptr<const QplCalls> calls, AcceleratorFacts facts, const AcceleratorSetting& setting)
      : calls_(std::move(calls)), facts_(std::move(facts)), state_(setting) {}
  const AcceleratorFacts& facts() const noexcept override { return facts_; }
  Result<std::unique_ptr<DeviceQueue>> queue() override {
    auto queue = std::make_unique<IaaQueue>(calls_, state_);
    TRY(queue->open());
    return queue;
  }

 private:
  std::shared_ptr<const QplCalls> calls_;
  AcceleratorFacts facts_;
  IaaState state_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> open_iaa(const AcceleratorSetting& setting) {
  auto calls = std::make_shared<QplCalls>(TRY(SharedLibrary::load(setting.library, kQplNames)));
  TRY(calls->bind());
  AcceleratorFacts facts{.name = name_of_device("iaa", calls->library.model()),
                         .library = calls->library.name(),
                         .model = calls->library.model(),
                         .devices = setting.devices,
                         .direct = true};
  qpl::GetLibraryVersion* version = nullptr;
  if (calls->library.bind("qpl_get_library_version", version)) facts.library += fmt::format(" {}", version());
  auto iaa = std::make_unique<Iaa>(std::move(calls), std::move(facts), setting);
  TRY(try_accelerator(*iaa, setting.decodes));
  return iaa;
}

}  // namespace godwit
