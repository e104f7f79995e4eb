// Intel IAA by QPL.
//
// QPL's jobs are asynchronous by themselves: a lane submits and checks its own, and no thread waits. The device reads a
// lane's block at the address where the lane has it (shared virtual memory: without it, it has no work queue for us).
// What it writes goes into memory of the queue's own first, which is left behind with the job if the device hangs: so
// nothing is ever written to a block that the lane has taken back.
#include "codec/qpl_abi.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <new>
#include <thread>
#include <utility>
#include <vector>

#include "codec/accelerator.h"
#include "codec/codecs.h"
#include "codec/shared_library.h"

// Of the leak checker, where a build has it.
extern "C" __attribute__((weak)) void __lsan_ignore_object(const void* object);

namespace godwit {

namespace {

/// Never freed: a device may still write to it.
void leave_behind(const void* memory) {
  if (__lsan_ignore_object != nullptr) __lsan_ignore_object(memory);
}

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
    TRY(library.bind("qpl_get_job_size", job_size));
    TRY(library.bind("qpl_init_job", init));
    TRY(library.bind("qpl_submit_job", submit));
    TRY(library.bind("qpl_check_job", check));
    return library.bind("qpl_fini_job", fini);
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

class IaaQueue final : public DeviceQueue {
 public:
  IaaQueue(std::shared_ptr<const QplCalls> calls, Duration patience) : calls_(std::move(calls)), patience_(patience) {}
  /// What does not end is left to the device, with its memory.
  ~IaaQueue() override {
    for (Slot& slot : slots_) {
      const Instant until = slot.since + patience_;
      while (slot.busy && calls_->check(slot.job) == qpl::kBeingProcessed && Clock::now() < until) {
        std::this_thread::sleep_for(kShortSleep);
      }
      if (slot.busy && calls_->check(slot.job) == qpl::kBeingProcessed) {
        leave_behind(slot.memory.release());
        leave_behind(slot.output.release());
        continue;
      }
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
      slot.job = static_cast<qpl::Job*>(slot.memory.get());
      if (const int status = calls_->init(qpl::kHardwarePath, slot.job); status != qpl::kOk) {
        return fail(ErrorKind::kUnsupported, why_no_iaa(status));
      }
      slots_.push_back(std::move(slot));
    }
    return {};
  }

  std::size_t depth() const noexcept override { return kJobs; }

  Result<std::size_t> submit(std::span<const DeviceJob> jobs) override {
    std::size_t taken = 0;
    while (taken < jobs.size()) {
      const auto slot = std::ranges::find(slots_, false, &Slot::busy);
      if (slot == slots_.end()) break;
      const DeviceJob& job = jobs[taken];
      if (job.input.size() > kLongestBlock || job.output.size() > kLongestBlock) {
        return fail(ErrorKind::kInvalidArgument, "a block is too long for a device");
      }
      slot->from = job;
      fill(*slot);
      const int status = calls_->submit(slot->job);
      if (status == qpl::kQueuesBusy) break;
      if (status != qpl::kOk) return taken > 0 ? Result<std::size_t>(taken) : fail(ErrorKind::kIo, why_no_iaa(status));
      slot->busy = true;
      slot->since = Clock::now();
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
      if (status == qpl::kBeingProcessed) {
        if (now - slot.since > patience_) return fail(ErrorKind::kTimedOut, "the device has not answered in time");
        continue;
      }
      slot.busy = false;
      done[n++] = answer(slot, status);
    }
    return n;
  }

  Result<std::size_t> collect(std::span<DeviceDone> done, std::stop_token stop) override {
    if (done.empty()) return std::size_t{0};
    for (unsigned looks = 0; !stop.stop_requested(); ++looks) {
      if (std::ranges::none_of(slots_, &Slot::busy)) return std::size_t{0};
      if (const std::size_t n = TRY(poll(done)); n > 0) return n;
      if (looks > kLooksAtOnce) std::this_thread::sleep_for(kShortSleep);
    }
    return std::size_t{0};
  }

 private:
  using Clock = std::chrono::steady_clock;
  using Instant = Clock::time_point;
  struct Slot {
    std::unique_ptr<void, FreeMemory> memory;
    std::unique_ptr<std::byte, FreeMemory> output;
    qpl::Job* job = nullptr;
    DeviceJob from;
    bool busy = false;
    Instant since;
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
  }

  static DeviceDone answer(Slot& slot, int status) {
    const DeviceJob& from = slot.from;
    const std::size_t size = slot.job->out_total;
    const bool full =
        status == qpl::kMoreOutputNeeded || status == qpl::kOutputTooShort || status == qpl::kOutputOverflow;
    if (!from.decodes && (full || (status == qpl::kOk && size >= from.input.size()))) return {.ticket = from.ticket};
    if (status != qpl::kOk || size > from.output.size()) return {.ticket = from.ticket, .failed = true};
    std::memcpy(from.output.data(), slot.output.get(), size);
    return {.ticket = from.ticket, .size = size};
  }

  std::shared_ptr<const QplCalls> calls_;
  Duration patience_;
  std::vector<Slot> slots_;
};

class Iaa final : public Accelerator {
 public:
  Iaa(std::shared_ptr<const QplCalls> calls, AcceleratorFacts facts, Duration patience)
      : calls_(std::move(calls)), facts_(std::move(facts)), patience_(patience) {}
  const AcceleratorFacts& facts() const noexcept override { return facts_; }
  Result<std::unique_ptr<DeviceQueue>> queue() override {
    auto queue = std::make_unique<IaaQueue>(calls_, patience_);
    TRY(queue->open());
    return queue;
  }

 private:
  std::shared_ptr<const QplCalls> calls_;
  AcceleratorFacts facts_;
  Duration patience_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> open_iaa(const AcceleratorSetting& setting) {
  auto calls = std::make_shared<QplCalls>(TRY(SharedLibrary::load(setting.library, kQplNames)));
  TRY(calls->bind());
  AcceleratorFacts facts{
      .name = "iaa", .library = calls->library.name(), .model = calls->library.model(), .direct = true};
  qpl::GetLibraryVersion* version = nullptr;
  if (calls->library.bind("qpl_get_library_version", version)) facts.library += fmt::format(" {}", version());
  auto iaa = std::make_unique<Iaa>(std::move(calls), std::move(facts), setting.patience);
  TRY(try_accelerator(*iaa, setting.decodes));
  return iaa;
}

}  // namespace godwit
