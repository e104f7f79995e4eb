#include "service/vm_watch.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <random>

#include "base/cpu_account.h"
#include "engine/content_sampler.h"
#include "engine/forecast_history.h"
#include "host/idle_cpus.h"
#include "service/wiring.h"

namespace godwit {

namespace {

using std::chrono::duration;
using std::chrono::milliseconds;

// Short ones tell what a pause would have to send, long ones what a round would.
constexpr Duration kIntervals[] = {milliseconds(50), milliseconds(100), milliseconds(250), milliseconds(500),
                                   milliseconds(1000)};
constexpr Duration kShortestInterval = milliseconds(20);
// 64 MiB of the guest's memory are enough to know it within a few percent.
constexpr std::size_t kMostChunksTried = 256;
// Of what was written, to see how much of it changes.
constexpr std::size_t kChunksNoted = 128;
// A link's rate is that of its frames: with TCP's and IP's headers less is left.
constexpr Estimate kShareOfLink{0.90, 0.955, 1.0};
// Lanes share the CPUs with the guest and with whoever else is there.
constexpr double kLeastCpus = 0.5;
// Connections, greetings, comparing the VMs, the data map at the destination.
constexpr Estimate kOtherSetup{0.03, 0.12, 0.5};
constexpr Estimate kOrderlyStop{0.002, 0.01, 0.05};
// What is known of changes where none of the pages that were tried was written.
constexpr Estimate kShareOfChanged{0.1, 0.6, 1.0};

double watch_seconds(Duration d) {
  return duration<double>(d).count();
}

Estimate scaled(const Estimate& e, double by) {
  return {e.low * by, e.point * by, e.high * by};
}

class VmWatch {
 public:
  VmWatch(const WatchRequest& request, const JobContext& context, OpenedSource& source, ContentSampler& sampler)
      : request_(request),
        context_(context),
        source_(source),
        sampler_(sampler),
        chunks_(source.vm().memory().layout().chunk_count()),
        board_(chunks_),
        written_(chunks_),
        idle_(cpus_beside(source.vcpu_threads())) {}

  Status run();
  WatchedVm result();

 private:
  Duration now() const { return context_.clock.now() - began_; }
  Status leave_out_free_pages();
  void order_chunks();
  Status watch();
  Status harvest();
  Status try_until(Duration when);
  double usable_cpus();
  void fill_in_content(ForecastInput& input);

  const WatchRequest& request_;
  const JobContext& context_;
  OpenedSource& source_;
  ContentSampler& sampler_;
  std::uint32_t chunks_;
  Board board_;
  std::vector<PageWord> data_;
  std::vector<PageWord> written_;  ///< since tracking began
  std::vector<std::pair<ChunkIndex, PageWord>> latest_;
  std::vector<ChunkIndex> order_;
  std::size_t tried_ = 0;
  std::size_t noted_ = 0;
  std::uint64_t data_pages_ = 0;
  std::uint64_t free_pages_ = 0;
  Instant began_{};
  Duration harvested_at_{};
  Duration setup_{};
  Duration scan_ = Duration::max();
  std::uint64_t harvests_ = 0;
  ForecastHistory history_;
  IdleCpus idle_;
  Duration cpu_began_{};
  std::mt19937_64 random_{20260101};
};

Status VmWatch::run() {
  const Instant begin = context_.clock.now();
  TRY_IN("dirty tracking", source_.tracker().start(chunks_));
  began_ = context_.clock.now();
  data_.resize(chunks_);
  TRY(source_.vm().memory().find_data(ChunkIndex{0}, data_));
  TRY_IN("dirty tracking", source_.tracker().copied_first(data_));
  setup_ = context_.clock.now() - begin;
  TRY(leave_out_free_pages());
  for (const PageWord pages : data_) data_pages_ += page_count(pages);
  order_chunks();
  (void)idle_.look(context_.clock.now());
  cpu_began_ = thread_cpu_time();
  const Status watched = watch();
  const Status stopped = source_.tracker().stop();
  return watched ? stopped : watched;
}

/// If the guest's books can be read: else all goes, as in a move.
Status VmWatch::leave_out_free_pages() {
  FreePages* const finder = source_.free_pages();
  if (finder == nullptr || !finder->locate(context_.cancelled, [] {})) return {};
  std::vector<PageWord> free = data_;
  if (!finder->find(free)) return {};
  for (std::uint32_t c = 0; c < chunks_; ++c) {
    free_pages_ += page_count(free[c] & data_[c]);
    data_[c] &= ~free[c];
  }
  return {};
}

void VmWatch::order_chunks() {
  for (std::uint32_t c = 0; c < chunks_; ++c) {
    if (data_[c] != 0) order_.push_back(ChunkIndex{c});
  }
  std::shuffle(order_.begin(), order_.end(), random_);
  if (order_.size() > kMostChunksTried) order_.resize(kMostChunksTried);
}

Status VmWatch::watch() {
  // What was written while data was looked for took its own time.
  TRY(harvest());
  const Duration end = now() + request_.length;
  std::size_t turn = 0;
  while (now() + kShortestInterval < end) {
    const Duration due = std::min(end, harvested_at_ + kIntervals[turn++ % std::size(kIntervals)]);
    TRY(try_until(due));
    TRY(harvest());
  }
  return {};
}

Status VmWatch::harvest() {
  const auto stats = TRY_IN("dirty tracking", source_.tracker().harvest(board_));
  const Duration at = now();
  latest_.clear();
  std::uint64_t pages = 0;
  std::uint64_t all = 0;
  for (std::uint32_t c = 0; c < chunks_; ++c) {
    const PageWord found = board_.claim(ChunkIndex{c});
    if (found != 0) latest_.emplace_back(ChunkIndex{c}, found);
    pages += page_count(found);
    written_[c] |= found;
    all += page_count(written_[c]);
  }
  scan_ = std::min(scan_, stats.took);
  if (++harvests_ > 1) {
    history_.harvested(at, at - harvested_at_, static_cast<double>(pages));
    history_.harvested(at, at, static_cast<double>(all));
  }
  harvested_at_ = at;
  std::shuffle(latest_.begin(), latest_.end(), random_);
  for (const auto& [chunk, found] : latest_) {
    TRY(sampler_.try_again(chunk, found));
    if (now() - at > milliseconds(20)) break;
  }
  for (const auto& [chunk, found] : latest_) {
    if (noted_ >= kChunksNoted || now() - at > milliseconds(40)) break;
    TRY(sampler_.note(chunk, found));
    ++noted_;
  }
  return {};
}

Status VmWatch::try_until(Duration when) {
  while (now() < when) {
    if (context_.cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled by the operator");
    if (const auto halt = source_.vm().halted()) return fail(ErrorKind::kRefused, halt->what);
    if (tried_ < order_.size()) {
      const ChunkIndex chunk = order_[tried_++];
      TRY(sampler_.try_first(chunk, data_[chunk.value]));
      continue;
    }
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any never;
    const auto wait = std::min<Duration>(when - now(), milliseconds(100));
    if (wait > Duration{}) never.wait_for(lock, context_.cancelled, wait, [] { return false; });
  }
  return {};
}

/// As many as are idle, and what this thread has used; lanes get some time even where none is.
double VmWatch::usable_cpus() {
  const double used = watch_seconds(thread_cpu_time() - cpu_began_) / std::max(watch_seconds(now()), 1e-3);
  const double idle = idle_.look(context_.clock.now()) + used;
  const double threads = request_.goals.lanes + request_.goals.encoding_threads.value_or(kMostEncodingThreads);
  return std::clamp(idle, std::min(kLeastCpus, threads), threads);
}

void VmWatch::fill_in_content(ForecastInput& in) {
  const double cpus = usable_cpus();
  const double rate = in.bytes_per_second.point;
  const PageCost first = sampler_.first().at(rate, cpus).value_or(PageCost{});
  const auto again = sampler_.again().at(rate, cpus);
  in.first_page_bytes = first.bytes;
  in.again_page_bytes = again
                            ? again->bytes
                            : Estimate{first.bytes.low * kShareOfChanged.low, first.bytes.point * kShareOfChanged.point,
                                       first.bytes.high * kShareOfChanged.high};
  // Somebody else may take half of what is idle now, or leave more.
  const Estimate each{1 / (1.5 * cpus), 1 / cpus, 2 / cpus};
  const auto seconds_of = [&](const Estimate& cpu) {
    return Estimate{cpu.low * each.low, cpu.point * each.point, cpu.high * each.high};
  };
  in.first_page_seconds = seconds_of(first.cpu_seconds);
  in.again_page_seconds = seconds_of(again ? again->cpu_seconds : first.cpu_seconds);
}

WatchedVm VmWatch::result() {
  SourceVm& vm = source_.vm();
  WatchedVm out;
  out.name = vm.fingerprint().vm_name;
  out.ram_bytes = vm.memory().layout().bytes();
  out.data_bytes = data_pages_ * kPageSize;
  out.free_bytes = free_pages_ * kPageSize;
  out.pages_tried = sampler_.first().pages();
  out.pages_tried_again = sampler_.again().pages();
  out.devices = name_of(vm.way());
  ForecastInput& in = out.input;
  in.found = history_.found(now());
  in.ram_pages = static_cast<double>(out.ram_bytes) / kPageSize;
  in.data_pages = in.first_left = static_cast<double>(data_pages_);
  in.bytes_per_second = scaled(kShareOfLink, request_.bandwidth.bytes_per_second());
  fill_in_content(in);
  in.scan = scan_ == Duration::max() ? Duration{} : scan_;
  in.device_bytes = vm.expected_device_bytes();
  const double setup = watch_seconds(setup_);
  in.setup_seconds = {setup + kOtherSetup.low, setup + kOtherSetup.point, 2 * setup + kOtherSetup.high};
  const double pass = watch_seconds(vm.preparation());
  in.handover_seconds = {kOrderlyStop.low, kOrderlyStop.point + pass, kOrderlyStop.high + 2 * pass};
  return out;
}

}  // namespace

Result<WatchedVm> watch_vm(const WatchRequest& request, const HostProfile& host, const JobContext& context) {
  TRY(check_source_host(host));
  const Kernels* kernels = &best_kernels(host);
  if (!request.kernels.empty()) kernels = TRY(kernels_by_name(request.kernels, host));
  Outcome outcome = Outcome::kSourceRuns;
  const auto source = TRY(request.open(context, outcome));
  if (source->journal().found() != Journal::State::kNone) {
    return fail(ErrorKind::kRefused, "another godwit has just worked on this VM: look at it with `godwit probe`");
  }
  if (source->vm().starts_paused()) {
    context.on_note("this VM is paused: a guest that runs would write more");
  }
  if (source->quiesce_harvests()) {
    context.on_note("what this VM's disks read into memory past its page tables is not counted");
  }
  const HashKey key = TRY(random_hash_key());
  const auto sampler = TRY(ContentSampler::make(source->vm().memory(), *kernels, key, request.goals.codec));
  VmWatch watch(request, context, *source, *sampler);
  TRY(watch.run());
  return watch.result();
}

}  // namespace godwit
