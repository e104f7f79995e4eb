// A VM without a hypervisor: a thread that writes memory while it runs, a tracker that sees every write, and both ends
// of a hand-over. The rules that a real hypervisor enforces or relies on are checked by it.
#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <random>
#include <set>
#include <thread>

#include "tests/support/plain_memory.h"
#include "tracking/dirty_tracker.h"
#include "tracking/free_pages.h"
#include "vmm/hypervisor.h"

namespace godwit::testing {

inline Fingerprint fake_fingerprint(const RamLayout& layout) {
  Fingerprint f{
      .hypervisor = "fake", .version = "1", .machine = "m", .accelerator = "none", .cpu_model = "c", .cpus = 1};
  for (const auto& block : layout.blocks()) f.blocks.push_back({block.name, block.size, block.page_size});
  return f;
}

// Instrumented lanes are slow, and a guest that writes as ever might not converge there: see tests/CMakeLists.txt.
#ifndef GODWIT_GUEST_SLOWDOWN
#define GODWIT_GUEST_SLOWDOWN 1
#endif

class FakeSourceVm final : public SourceVm, public DirtyTracker, public FreePages {
 public:
  FakeSourceVm(RamLayout layout, unsigned writes_per_ms)
      : memory_(std::move(layout)),
        fingerprint_(fake_fingerprint(memory_.layout())),
        writes_per_ms_((writes_per_ms + GODWIT_GUEST_SLOWDOWN - 1) / GODWIT_GUEST_SLOWDOWN) {
    guest_ = std::jthread([this](std::stop_token stop) { run_guest(stop); });
  }
  ~FakeSourceVm() override {
    handover_ = {};
    guest_ = {};
  }

  void set_cpus(unsigned cpus) { fingerprint_.cpus = cpus; }
  void set_name(std::string name) { fingerprint_.vm_name = std::move(name); }
  const Fingerprint& fingerprint() const noexcept override { return fingerprint_; }
  GuestMemory& memory() noexcept override { return memory_; }
  DeviceWay way() const noexcept override { return device_way; }
  const std::string& why_stream() const noexcept override { return why_not_direct; }
  Status use(DeviceWay way, std::string why) override {
    device_way = way;
    why_not_direct = std::move(why);
    return {};
  }
  bool still_paused() const noexcept override { return !running_ && !let_run_by_others; }
  bool starts_paused() const noexcept override { return paused_at_start; }
  bool moves_paused() const noexcept override { return paused_at_start || paused_since; }
  bool move_as_paused() override {
    called("move_as_paused");
    const std::lock_guard lock(halt_mutex_);
    if (!can_move_as_paused || !halt_ || halt_->kind != Halt::Kind::kPaused) return false;
    halt_.reset();
    paused_since = true;
    return true;
  }
  std::uint64_t expected_device_bytes() const noexcept override { return 0; }
  std::optional<Halt> halted() override {
    const std::lock_guard lock(halt_mutex_);
    return halt_;
  }
  bool can_take_back() const override { return !hypervisor_gone; }
  Status pause() override {
    called("pause");
    halt();
    return {};
  }
  Status resume() override {
    called("resume");
    running_ = true;
    return {};
  }
  Status check_unchanged() override {
    called("check_unchanged");
    return changed ? Status(fail(*changed)) : Status{};
  }
  Status told_of_no_change() const override { return told_changed ? Status(fail(*told_changed)) : Status{}; }
  Status meet(const Fingerprint&) override { return {}; }
  Status open_handover(HandoverObserver& observer) override {
    called("open_handover");
    told = &observer;
    return {};
  }
  Duration preparation() const override { return preparation_takes; }
  Status prepare_handover() override {
    called("prepare_handover");
    return preparation_fails ? Status(fail(ErrorKind::kHypervisor, "the fake hypervisor cannot begin")) : Status{};
  }
  Status order_handover(Duration) override {
    called("order_handover");
    if (order_fails) return fail(*std::exchange(order_fails, std::nullopt));
    if (told == nullptr) return fail(ErrorKind::kInvalidArgument, "nobody would take the device state in");
    handover_ = std::jthread([this] {
      if (Status handed = hand_over(*told); !handed) told->handover_failed(std::move(handed).error());
    });
    return {};
  }
  Status roll_back() override {
    handover_ = {};
    if (!halted() && !moves_paused()) running_ = true;
    ++rolled_back;
    return {};
  }
  Status finish() override {
    handover_ = {};  // after this no observer is called
    ++finished;
    return {};
  }
  void interrupt() noexcept override {}

  // DirtyTracker
  Status start(std::uint32_t) override {
    called("start");
    if (fail_start) return fail(ErrorKind::kUnsupported, "the fake tracker cannot track this");
    std::lock_guard lock(guest_mutex_);
    tracking_ = true;
    return {};
  }
  Result<HarvestStats> harvest(Board& board) override {
    called("harvest");
    if (harvest_fails) return fail(*harvest_fails);
    return collect(board);
  }
  Result<HarvestStats> harvest_near_stop(Board& board, const std::function<bool()>&) override {
    called("harvest_near_stop");
    harvested_near_stop = true;
    return collect(board);
  }
  Result<HarvestStats> harvest_last(Board& board) override {
    called("harvest_last");
    return collect(board);
  }
  /// More than was given back: that is allowed.
  Status find_absent(AbsentPages& pages) override {
    for (const RamBlock& block : memory_.layout().blocks()) {
      std::vector<PageWord> words((block.size + kChunkSize - 1) / kChunkSize);
      TRY(pages.ask(block.first_chunk, words));
      TRY(pages.found(block.first_chunk, words));
    }
    return {};
  }
  Result<std::uint64_t> settle(Board&) override { return std::uint64_t{0}; }
  Status stop() override {
    tracking_ = false;
    return {};
  }

  // FreePages
  Status locate(std::stop_token stop, const std::function<void()>& likely) override {
    if (!frees_pages) return fail(ErrorKind::kUnsupported, "no books");
    likely();
    return on_likely ? on_likely(stop) : Status{};
  }
  Status find(std::span<PageWord> out) override {
    std::lock_guard lock(guest_mutex_);
    if (looks >= looks_that_work) {
      std::ranges::fill(out, PageWord{0});
      return fail(ErrorKind::kUnsupported, "contradictions");
    }
    std::vector<PageWord> free(out.size());
    for (const auto& [chunk, page] : free_) free[chunk] |= PageWord{1} << page;
    // A finder may be mistaken: what it names is looked at again in the end.
    for (std::size_t c = 0; mistaken_finder && c < free.size(); c += 3) free[c] |= 0xf0;
    for (std::size_t c = 0; c < out.size(); ++c) {
      out[c] &= free[c];
      found += page_count(out[c]);
    }
    ++looks;
    return {};
  }
  Status keep_needed(ChunkIndex first, std::span<PageWord> pages) override {
    std::this_thread::sleep_for(look_into_takes.load());
    for (PageWord& word : pages) word &= needed_of({first.value++});
    return {};
  }
  void keep_free(std::span<PageWord> pages) override {
    if (running_) std::ranges::fill(pages, PageWord{0});  // whoever makes something of that is found out
    for (std::size_t c = 0; c < pages.size(); ++c) {
      for_each_page(PageWord{pages[c]}, [&](unsigned page) {
        if (!free_.contains({static_cast<std::uint32_t>(c), page})) pages[c] &= ~(PageWord{1} << page);
      });
    }
  }

  /// Calls act(memory) with the guest held still, for the time of the call.
  template <typename Act>
  void with_memory(Act act) {
    std::lock_guard lock(guest_mutex_);
    act(memory_);
  }
  /// What the guest does in so many milliseconds, at once.
  void run_ahead(unsigned milliseconds) {
    const std::lock_guard lock(guest_mutex_);
    for (unsigned i = 0; running_ && !rests && i < milliseconds * writes_per_ms_; ++i) write_once();
  }
  /// Writes pages of the last chunks and frees them.
  void free_many() {
    std::lock_guard lock(guest_mutex_);
    for (std::uint32_t chunk = 400; chunk < memory_.layout().chunk_count(); ++chunk) {
      for_each_page(memory_.layout().valid_pages(ChunkIndex{chunk}), [&](unsigned page) {
        dirty_.insert({chunk, page});
        free_.insert({chunk, page});
      });
    }
  }
  bool runs() const noexcept { return running_; }
  /// Somebody else pauses the guest, or it ends.
  void halt_by_others(Halt halt) {
    {
      const std::lock_guard lock(halt_mutex_);
      halt_ = std::move(halt);
    }
    this->halt();
  }
  /// The guest is paused from the beginning, by somebody else.
  void start_paused() {
    paused_at_start = true;
    halt();
  }
  /// With the guest stopped: the pages it has free now, and does not want to find as it left them.
  bool has_free(ChunkIndex chunk, unsigned page) const {
    return ((needed_of(chunk) >> page) & 1) == 0 && free_.contains({chunk.value, page});
  }

  /// Pages that must travel also when they are free: none in the first chunks, so that looking into these posts none.
  static PageWord needed_of(ChunkIndex chunk) noexcept { return chunk.value < 400 ? 0 : 0x0101010101010101; }

  std::atomic<bool> rests{false};        ///< the guest does nothing
  std::atomic<bool> frees_pages{false};  ///< the guest frees pages, and takes them into use again
  std::atomic<unsigned> looks{0};        ///< calls of find(), and what they found in all
  std::atomic<std::uint64_t> found{0};
  std::atomic<unsigned> looks_that_work{~0U};
  std::atomic<bool> mistaken_finder{false};  ///< find() names pages that are in use
  std::atomic<std::chrono::milliseconds> look_into_takes{std::chrono::milliseconds(0)};  ///< a call of keep_needed()
  /// The rest of the search, once there are books that are likely the guest's: what locate() gives.
  std::function<Status(std::stop_token)> on_likely;
  /// Hears what the engine asks of the VM and the tracker, before it is done, on the coordinator's thread.
  std::function<void(std::string_view)> on_call;
  std::atomic<bool> harvested_near_stop{false};
  /// Called in the hand-over, on its thread, before the guest is stopped.
  std::function<void(HandoverObserver&)> before_stop;
  /// Likewise, when it has been stopped and its devices have not been saved.
  std::function<void()> before_devices;
  bool stops_late = false;  ///< the hand-over stops the guest only after a harvest of its own
  bool fail_start = false;
  std::optional<Error> harvest_fails;  ///< set before a migration or on the coordinator's thread
  unsigned rolled_back = 0;
  std::atomic<bool> let_run_by_others{false};  ///< somebody else's `cont`
  unsigned finished = 0;
  HandoverObserver* told = nullptr;   ///< the observer of the hand-over
  std::optional<Error> changed;       ///< what check_unchanged() gives; set before a migration or from on_call
  std::optional<Error> told_changed;  ///< what told_of_no_change() gives; likewise
  std::atomic<bool> hypervisor_gone{false};
  bool paused_at_start = false;
  bool can_move_as_paused = false;
  std::atomic<bool> paused_since{false};  ///< by somebody else, and it is moved so
  Duration preparation_takes{};
  bool preparation_fails = false;
  std::optional<Error> order_fails;  ///< once; set before a migration or from on_call
  DeviceWay device_way = DeviceWay::kStream;
  std::string why_not_direct;

 private:
  void called(std::string_view what) const {
    if (on_call) on_call(what);
  }
  void halt() {
    std::lock_guard lock(guest_mutex_);
    running_ = false;
  }
  Result<HarvestStats> collect(Board& board) {
    std::lock_guard lock(guest_mutex_);
    for (const auto& [chunk, page] : dirty_) board.post(ChunkIndex{chunk}, PageWord{1} << page);
    HarvestStats stats{.pages = dirty_.size()};
    dirty_.clear();
    board.announce();
    return stats;
  }
  void run_guest(std::stop_token stop) {
    while (!stop.stop_requested()) {
      run_ahead(1);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void write_once() {
    const auto chunk = static_cast<std::uint32_t>(random_() % memory_.layout().chunk_count());
    const auto page = static_cast<unsigned>(random_() % kPagesPerChunk);
    if (((memory_.layout().valid_pages(ChunkIndex{chunk}) >> page) & 1) == 0) return;
    if (frees_pages && random_() % 4 == 0) {
      free_.insert({chunk, page});
      return;
    }
    const RacyOnPurpose racy;
    free_.erase({chunk, page});                             // whoever takes a page into use writes it
    const auto value = random_() % 3 == 0 ? 0 : random_();  // pages become zero again, too
    if (value == 0)
      std::memset(memory_.at(ChunkIndex{chunk}, page), 0, kPageSize);
    else
      std::memcpy(memory_.at(ChunkIndex{chunk}, page) + random_() % 500 * 8, &value, sizeof value);
    if (tracking_) dirty_.insert({chunk, page});
  }
  Status hand_over(HandoverObserver& observer) {
    const SteadyClock clock;
    TRY(observer.device_bytes(bytes_of("setup")));
    for (int i = 0; stops_late && !harvested_near_stop && i < 5000; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    if (before_stop) before_stop(observer);
    observer.guest_stopping(clock.now());
    halt();
    TRY(observer.guest_stopped(clock.now()));
    if (before_devices) before_devices();
    TRY(observer.device_bytes(bytes_of("devices")));
    return observer.stream_ended(clock.now(), 0);
  }

  PlainMemory memory_;
  Fingerprint fingerprint_;
  unsigned writes_per_ms_;
  std::mutex guest_mutex_;
  std::mt19937_64 random_{1};
  std::atomic<bool> running_{true};
  std::atomic<bool> tracking_{false};
  std::set<std::pair<std::uint32_t, unsigned>> dirty_;
  std::set<std::pair<std::uint32_t, unsigned>> free_;
  std::mutex halt_mutex_;
  std::optional<Halt> halt_;
  std::jthread handover_;
  std::jthread guest_;
};

class FakeSinkVm final : public SinkVm {
 public:
  explicit FakeSinkVm(RamLayout layout)
      : memory_(std::move(layout)), fingerprint_(fake_fingerprint(memory_.layout())) {}

  void set_cpus(unsigned cpus) { fingerprint_.cpus = cpus; }
  const Fingerprint& fingerprint() const noexcept override { return fingerprint_; }
  GuestMemory& memory() noexcept override { return memory_; }
  DeviceWay way() const noexcept override { return device_way; }
  const std::string& why_stream() const noexcept override { return why_not_direct; }
  Result<std::unique_ptr<MissingPages>> open_missing_pages() override {
    if (on_missing_pages) return on_missing_pages();
    return fail(ErrorKind::kUnsupported, "the fake hypervisor cannot wait for memory");
  }
  Status open_incoming() override { return on_load ? on_load("open_incoming") : Status{}; }
  Status load(Bytes bytes) override {
    loaded += text_of(bytes);
    return on_load ? on_load("load") : Status{};
  }
  Status check_unchanged() override { return on_load ? on_load("check_unchanged") : Status{}; }
  Status finish_load() override { return on_load ? on_load("finish_load") : Status{}; }
  Status await_loaded(Duration) override {
    std::this_thread::sleep_for(load_takes);
    if (on_load) TRY(on_load("await_loaded"));
    if (fail_load) return fail(ErrorKind::kHypervisor, "the fake hypervisor cannot load this");
    return {};
  }
  Status resume() override {
    ++resumes;
    if (on_resume) on_resume();
    if (fail_resume) return fail(ErrorKind::kHypervisor, "the fake hypervisor cannot run this");
    if (refuse_resume > 0) {
      --refuse_resume;
      return fail(ErrorKind::kRefused, "the fake hypervisor's disk is locked");
    }
    running_ = true;
    return {};
  }
  Status end_unrun() override {
    EXPECT_FALSE(running_);
    if (cannot_end) return fail(ErrorKind::kHypervisor, "the fake hypervisor does not end");
    ended = dead = true;
    return {};
  }
  Status stay_paused() override {
    stayed_paused = true;
    return {};
  }
  Status announce() override {
    announced = true;
    return {};
  }
  void warm_up(ChunkIndex, PageWord pages) noexcept override {
    EXPECT_TRUE(running_) << "not before the guest runs";
    warmed += page_count(pages);
  }
  void give_up() noexcept override { gave_up = true; }
  Status check_alive() const override {
    return dead ? Status(fail(ErrorKind::kHypervisor, "the fake hypervisor has ended")) : Status{};
  }
  Status check_waits() const override {
    TRY(check_alive());
    return used_by_others ? Status(fail(ErrorKind::kHypervisor, "somebody else uses the fake hypervisor")) : Status{};
  }
  void interrupt() noexcept override {}

  bool runs() const noexcept { return running_; }
  PlainMemory& plain() noexcept { return memory_; }

  DeviceWay device_way = DeviceWay::kStream;
  std::string why_not_direct;
  std::string loaded;
  /// Hears open_incoming(), and each step of the loading on the loader's thread; what it gives is what the step comes
  /// to.
  std::function<Status(std::string_view)> on_load;
  std::function<Result<std::unique_ptr<MissingPages>>()> on_missing_pages;  ///< empty: it cannot wait for any
  std::atomic<std::uint64_t> warmed{0};                                     ///< pages
  bool fail_load = false;
  std::chrono::milliseconds load_takes{0};
  bool fail_resume = false;
  std::function<void()> on_resume;  ///< hears resume(), and may throw as a library does
  unsigned refuse_resume = 0;       ///< so many times
  unsigned resumes = 0;             ///< calls
  bool cannot_end = false;
  bool ended = false;
  std::atomic<bool> dead{false};
  std::atomic<bool> used_by_others{false};  ///< it has told that it runs somebody else's guest
  std::atomic<bool> announced{false};
  std::atomic<bool> stayed_paused{false};
  std::atomic<bool> gave_up{false};

 private:
  PlainMemory memory_;
  Fingerprint fingerprint_;
  std::atomic<bool> running_{false};
};

}  // namespace godwit::testing
