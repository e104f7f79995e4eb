// Messages in every state of a sink: a whole one, with its threads and a hypervisor that does nothing, is told whatever
// the input says, by a source that knows the session's secret.
//
//   input   | hypervisor | state to begin with | step ...        each step a byte, and what it takes
//
//   source --- steps: messages, frames, rubbish ---> control connection, lane --> [sink] --> hypervisor
//      |  <---------- Prepared, Abort, ... ---------------------------------------  |
//      +-- a model of its own: is this in order, may the guest run now? ------------+
//
// What must hold: it ends; the guest is let run only after a Commit that was in order, with all of RAM and all devices
// in place; what is out of order is refused with its name while the guest is not the sink's; who says that the guest
// never ran has ended its hypervisor; and before a data map nothing of the memory here changes.
#include <sys/eventfd.h>
#include <unistd.h>

#include <condition_variable>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>

#include "engine/broker.h"
#include "engine/fence.h"
#include "engine/sink.h"
#include "fuzz/input.h"
#include "host/host_profile.h"
#include "tests/support/plain_memory.h"
#include "wire/control.h"
#include "wire/control_header.h"
#include "wire/frame.h"

namespace {

using namespace godwit;

constexpr auto kHangs = std::chrono::seconds(30);  // nothing here waits for so long
constexpr unsigned kMostSteps = 64;

// ---- what the source says

enum class State { kWelcomed, kMapping, kCopying, kStopped, kEnded, kCommitted };

struct Step {
  enum class Kind { kMessage, kMalformed, kControlBytes, kFence, kZeroFrame, kLaneBytes, kAwait };
  Kind kind = Kind::kAwait;
  std::optional<wire::Message> message;
  std::uint32_t fence = 0;
  std::vector<std::byte> bytes;
};

const RamLayout& layout() {
  static const RamLayout made = RamLayout::make({{.name = "a", .size = kChunkSize + 3 * kPageSize}}).value();
  return made;
}

/// What spec.md says of the order, written down once more.
class Model {
 public:
  /// Why the sink must refuse what has come; empty as long as it must not.
  std::string bad;
  std::string or_bad;      ///< or so: whether the sink has prepared meanwhile is not known here
  bool malformed = false;  ///< what has come is not a message
  bool aborted = false;    ///< by the source
  bool garbled = false;    ///< the control connection: what its bytes mean is not known here
  bool lane_clean = true;  ///< nothing but frames in order
  bool map_began = false;
  bool committed = false;  ///< a Commit has come where one may be in order
  State state = State::kWelcomed;

  bool all_is_here() const noexcept {
    return state == State::kEnded && lane_clean && fence_ == kLastFence && pieces_ > 0;
  }
  /// Nothing more will be looked at.
  bool over() const noexcept { return !bad.empty() || malformed || aborted || garbled || committed; }

  void take(const Step& step) {
    switch (step.kind) {
      case Step::Kind::kMessage:
        if (!over()) take(*step.message);
        return;
      case Step::Kind::kMalformed:
        if (!over()) malformed = true;
        return;
      case Step::Kind::kControlBytes:
        if (malformed) return;  // nobody reads on
        // A data map may be among it.
        garbled = map_began = true;
        return;
      case Step::Kind::kLaneBytes:
        if (fence_ != kLastFence) lane_clean = false;
        return;
      case Step::Kind::kFence:
        if (fence_ == kLastFence) return;  // nobody reads on
        if (step.fence <= fence_) lane_clean = false;
        fence_ = step.fence;
        return;
      case Step::Kind::kZeroFrame:
      case Step::Kind::kAwait:
        return;
    }
  }
  std::uint32_t mapped() const noexcept { return mapped_; }

 private:
  void take(const wire::Message& message) {
    if (std::holds_alternative<wire::Heartbeat>(message)) return;
    if (std::holds_alternative<wire::Abort>(message)) {
      aborted = true;
    } else if (const auto* map = std::get_if<wire::DataMap>(&message)) {
      take(*map);
    } else if (std::holds_alternative<wire::DataMapEnd>(message)) {
      if (state != State::kMapping) {
        bad = "DataMapEnd out of order";
      } else if (mapped_ != layout().chunk_count()) {
        bad = "gaps";
      }
      state = State::kCopying;
    } else if (std::holds_alternative<wire::DeviceBytes>(message)) {
      take_devices("DeviceBytes");
    } else if (std::holds_alternative<wire::PackedDevices>(message)) {
      take_devices("PackedDevices");
    } else if (std::holds_alternative<wire::GuestStopped>(message)) {
      if (state != State::kCopying) bad = "GuestStopped out of order";
      state = State::kStopped;
    } else if (std::holds_alternative<wire::DeviceEnd>(message)) {
      if (state != State::kStopped) bad = "DeviceEnd out of order";
      state = State::kEnded;
    } else if (std::holds_alternative<wire::Commit>(message)) {
      if (all_is_here()) {
        committed = true;
      } else {
        bad = "Commit out of order";
      }
    } else if (is_of_postcopy(message) && state >= State::kCopying) {
      bad = "which nobody has agreed to";
      or_bad = "out of order";
    } else {
      bad = "out of order";
    }
  }
  static bool is_of_postcopy(const wire::Message& message) noexcept {
    return std::holds_alternative<wire::MissingMap>(message) || std::holds_alternative<wire::MissingMapEnd>(message);
  }
  void take(const wire::DataMap& map) {
    if (state != State::kWelcomed && state != State::kMapping) {
      bad = "DataMap out of order";
      return;
    }
    state = State::kMapping;
    map_began = true;
    if (map.first.value != mapped_ || map.words.size() > layout().chunk_count() - mapped_) {
      bad = "data map is out of order or too long";
      return;
    }
    for (const PageWord word : map.words) {
      if ((word & ~layout().valid_pages(ChunkIndex{mapped_++})) != 0) bad = "past the end of RAM";
    }
  }
  void take_devices(const char* name) {
    if (state != State::kCopying && state != State::kStopped) bad = std::string(name) + " out of order";
    ++pieces_;
  }

  std::uint32_t mapped_ = 0;
  std::uint32_t fence_ = 0;
  unsigned pieces_ = 0;
};

Fingerprint fingerprint() {
  Fingerprint made{.hypervisor = "fake", .version = "1", .machine = "m", .accelerator = "none", .cpus = 1};
  for (const RamBlock& block : layout().blocks()) made.blocks.push_back({block.name, block.size, block.page_size});
  return made;
}

/// In a form that would be right at its time.
wire::Message message_of(unsigned number, std::uint32_t mapped) {
  const std::vector<PageWord> rest(std::max<std::uint32_t>(layout().chunk_count() - mapped, 1));
  switch (number % 16) {
    case 0:
      return wire::Hello{.fingerprint = fingerprint(), .lanes = 1, .program = "a fuzzer"};
    case 1:
      return wire::DataMap{ChunkIndex{mapped}, rest};
    case 2:
      return wire::DataMapEnd{};
    case 3:
      return wire::DeviceBytes{{std::byte{'d'}}};
    case 4:
      return wire::PackedDevices{
          .codec = static_cast<std::uint8_t>(CodecId::kRaw), .size = 1, .bytes = {std::byte{'p'}}};
    case 5:
      return wire::GuestStopped{};
    case 6:
      return wire::DeviceEnd{};
    case 7:
      return wire::Commit{};
    case 8:
      return wire::Welcome{fingerprint(), "a fuzzer"};
    case 9:
      return wire::Refusal{"no reason"};
    case 10:
      return wire::MapApplied{};
    case 11:
      return wire::Fenced{1};
    case 12:
      return wire::Prepared{};
    case 13:
      return wire::Done{};
    case 14:
      return wire::Heartbeat{};
    default:
      return wire::Abort{"cancelled", "enough"};
  }
}

class Script {
 public:
  explicit Script(Input& input) {
    reach(input.byte() % 8);
    while (!input.empty() && steps_.size() < kMostSteps) add(input);
  }
  const std::vector<Step>& steps() const noexcept { return steps_; }

 private:
  void add(Input& input) {
    const unsigned op = input.byte();
    if (op < 0x20) return say(message_of(op, plan_.mapped()));
    if (op < 0x30) {
      const std::uint16_t type = input.byte();
      const Bytes body = input.bytes(input.byte());
      if (auto message = wire::is_known(type) && body.size() <= wire::body_limit(type)
                             ? wire::decode(type, body)
                             : Result<wire::Message>(fail(ErrorKind::kProtocol, "none"))) {
        return say(*std::move(message));
      }
      const auto header = wire::encode_header(type, body.size());
      std::vector<std::byte> bytes(header.begin(), header.end());
      bytes.insert(bytes.end(), body.begin(), body.end());
      return put({.kind = Step::Kind::kMalformed, .bytes = std::move(bytes)});
    }
    if (op < 0x40) {
      const Bytes raw = input.bytes(input.byte());
      const auto kind = op < 0x38 ? Step::Kind::kControlBytes : Step::Kind::kLaneBytes;
      return put({.kind = kind, .bytes = {raw.begin(), raw.end()}});
    }
    if (op < 0x60) {
      const std::uint32_t number = input.byte();
      return put_fence(number < 0xf0 ? number : 0xffffff00 + number);
    }
    if (op < 0x70) return put({.kind = Step::Kind::kZeroFrame});
    if (op < 0x80) {
      wire::DataMap map{ChunkIndex{input.byte() % 4u}, {}};
      for (unsigned left = 1 + op % 4; left > 0; --left)
        map.words.push_back(PageWord{input.byte()} << input.byte() % 57);
      return say(std::move(map));
    }
    if (op < 0xc0) return reach(op % 8);
    put({});
  }
  /// All that leads to a state: 0 welcomed ... 4 devices ended, 5 all is in place, 6 prepared, 7 committed.
  void reach(unsigned target) {
    while (!plan_.over() && static_cast<unsigned>(plan_.state) < std::min(target, 4u)) {
      switch (plan_.state) {
        case State::kWelcomed:
          say(wire::DataMap{ChunkIndex{0}, std::vector<PageWord>(1)});
          break;
        case State::kMapping:
          if (plan_.mapped() < layout().chunk_count()) say(message_of(1, plan_.mapped()));
          say(wire::DataMapEnd{});
          break;
        case State::kCopying:
          say(message_of(3, 0));
          say(wire::GuestStopped{});
          break;
        default:
          say(message_of(3, 0));
          say(wire::DeviceEnd{});
      }
    }
    if (target > 4) {
      put_fence(kDevicesFence);
      put_fence(kLastFence);
    }
    if (target > 5) put({});
    if (target > 6) say(wire::Commit{});
  }
  void say(wire::Message message) { put({.kind = Step::Kind::kMessage, .message = std::move(message)}); }
  void put_fence(std::uint32_t number) { put({.kind = Step::Kind::kFence, .fence = number}); }
  void put(Step step) {
    plan_.take(step);
    steps_.push_back(std::move(step));
  }

  Model plan_;
  std::vector<Step> steps_;
};

// ---- the connections, without a network

/// What both have: a descriptor that poll(2) always finds readable.
class QuietLink final : public Link {
 public:
  std::uint64_t bytes_sent() const noexcept override { return 0; }
  std::uint64_t bytes_received() const noexcept override { return 0; }
  SendWaits send_waits() const noexcept override { return {}; }
  void bear_silence(Duration) noexcept override {}
  SendQueue send_queue() noexcept override { return {}; }
  Duration queueing() const noexcept override { return {}; }
  int descriptor() const noexcept override {
    static const int readable = ::eventfd(1, EFD_CLOEXEC);
    return readable;
  }
  const std::string& peer() const noexcept override {
    static const std::string name = "the fuzzer";
    return name;
  }
  std::string security() const override { return {}; }
};

/// All that the source's side of one move knows. Outlives its channels.
class Source {
 public:
  explicit Source(const std::vector<Step>& steps) : steps_(steps) {}

  void put_control(Bytes bytes) { control_.insert(control_.end(), bytes.begin(), bytes.end()); }
  void put_lane(Bytes bytes) { lane_.insert(lane_.end(), bytes.begin(), bytes.end()); }

  Result<std::size_t> read_control(MutableBytes room, std::size_t at_least) {
    std::unique_lock lock(mutex_);
    while (control_.size() < at_least && !cut_ && next_ < steps_.size()) perform(lock, steps_[next_++]);
    return take(control_, room, at_least);
  }
  Result<std::size_t> read_lane(MutableBytes room, std::size_t at_least) {
    std::unique_lock lock(mutex_);
    // The end comes by the control connection.
    changed_.wait(lock, [&] { return cut_ || lane_.size() >= at_least; });
    return take(lane_, room, at_least);
  }
  void hear(std::span<const iovec> parts) {
    const std::lock_guard lock(mutex_);
    for (const iovec& part : parts) {
      const auto* const begin = static_cast<const std::byte*>(part.iov_base);
      heard_.insert(heard_.end(), begin, begin + part.iov_len);
    }
    while (heard_.size() >= wire::kHeaderSize) {
      const auto header = wire::decode_header(Bytes(heard_).first(wire::kHeaderSize));
      check(header.has_value());
      const std::size_t length = wire::kHeaderSize + header->length;
      if (heard_.size() < length) break;
      auto message = wire::decode(header->type, Bytes(heard_).first(length).subspan(wire::kHeaderSize));
      check(message.has_value());
      if (std::holds_alternative<wire::Prepared>(*message)) prepared = true;
      if (std::holds_alternative<wire::Done>(*message)) done = true;
      if (const auto* abort = std::get_if<wire::Abort>(&*message)) refused = *abort;
      heard_.erase(heard_.begin(), heard_.begin() + static_cast<std::ptrdiff_t>(length));
    }
    changed_.notify_all();
  }
  void hear_end() {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    changed_.notify_all();
  }
  void cut() {
    const std::lock_guard lock(mutex_);
    cut_ = true;
    changed_.notify_all();
  }

  // With the sink at rest, or from its coordinator's thread.
  Model model;
  bool surely_committed = false;  ///< a Commit followed Prepared
  // What it has said.
  bool prepared = false;
  bool done = false;
  std::optional<wire::Abort> refused;

 private:
  Result<std::size_t> take(std::vector<std::byte>& from, MutableBytes room, std::size_t at_least) const {
    if (cut_) return fail(ErrorKind::kCancelled, "aborted");
    if (from.size() < at_least) return fail(ErrorKind::kPeerLost, "the peer closed the connection");
    const std::size_t size = std::min(from.size(), room.size());
    std::copy_n(from.begin(), size, room.begin());
    from.erase(from.begin(), from.begin() + static_cast<std::ptrdiff_t>(size));
    return size;
  }
  void perform(std::unique_lock<std::mutex>& lock, const Step& step) {
    const bool knew = model.committed;
    model.take(step);
    surely_committed = surely_committed || (!knew && model.committed && prepared && !refused);
    switch (step.kind) {
      case Step::Kind::kMessage: {
        const auto encoded = wire::encode(*step.message);
        put_control(wire::encode_header(encoded.type, encoded.body.size()));
        return put_control(encoded.body);
      }
      case Step::Kind::kMalformed:
      case Step::Kind::kControlBytes:
        return put_control(step.bytes);
      case Step::Kind::kAwait:
        if (!model.all_is_here() || model.over()) return;
        check(changed_.wait_for(lock, kHangs, [&] { return prepared || refused || ended_ || cut_; }));
        return;
      case Step::Kind::kFence:
        put_lane(wire::encode(wire::FrameHeader{.type = wire::FrameType::kFence, .chunk = ChunkIndex{step.fence}}));
        break;
      case Step::Kind::kZeroFrame:
        put_lane(wire::encode(wire::FrameHeader{.chunk = ChunkIndex{0}, .zero = 1}));
        break;
      case Step::Kind::kLaneBytes:
        put_lane(step.bytes);
        break;
    }
    changed_.notify_all();
  }

  const std::vector<Step>& steps_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::size_t next_ = 0;
  std::vector<std::byte> control_, lane_;  ///< said, and not read yet
  std::vector<std::byte> heard_;
  bool ended_ = false;
  bool cut_ = false;
};

class Connection final : public Channel {
 public:
  Connection(std::shared_ptr<Source> source, bool lane) : source_(std::move(source)), lane_(lane) {}
  Status write(std::span<const iovec> parts, const Deadline&) override {
    if (!lane_) source_->hear(parts);
    return {};
  }
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline&) override {
    return lane_ ? source_->read_lane(room, at_least) : source_->read_control(room, at_least);
  }
  Status shut_down() override {
    if (!lane_) source_->hear_end();
    return {};
  }
  void abort() noexcept override { source_->cut(); }
  Link& link() noexcept override { return link_; }

 private:
  std::shared_ptr<Source> source_;
  bool lane_;
  QuietLink link_;
};

/// Gives the greeter what it is given.
class Doorway final : public Listener {
 public:
  void come(std::unique_ptr<Channel> channel) {
    {
      const std::lock_guard lock(mutex_);
      come_.push_back(std::move(channel));
    }
    check(::eventfd_write(waiting_, 1) == 0);
  }
  Result<std::unique_ptr<Channel>> accept(Duration) override {
    eventfd_t one = 0;
    if (::eventfd_read(waiting_, &one) != 0) return fail(ErrorKind::kTimedOut, "nobody connected in time");
    const std::lock_guard lock(mutex_);
    auto channel = std::move(come_.front());
    come_.pop_front();
    return channel;
  }
  void abort() noexcept override {}
  int descriptor() const noexcept override { return waiting_; }
  Address address() const override { return {}; }

 private:
  const int waiting_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
  std::mutex mutex_;
  std::deque<std::unique_ptr<Channel>> come_;
};

// ---- the hypervisor

enum class Behaves { kWell, kPaused, kRefusesToRun, kFailsToRun, kFailsToLoad };

class FuzzVm final : public SinkVm {
 public:
  FuzzVm(testing::PlainMemory& memory, const Fingerprint& its, Source& source, Behaves behaves)
      : memory_(memory), fingerprint_(its), source_(source), behaves_(behaves) {}

  const Fingerprint& fingerprint() const noexcept override { return fingerprint_; }
  GuestMemory& memory() noexcept override { return memory_; }
  DeviceWay way() const noexcept override { return DeviceWay::kStream; }
  const std::string& why_stream() const noexcept override { return why_; }
  Result<std::unique_ptr<MissingPages>> open_missing_pages() override {
    return fail(ErrorKind::kUnsupported, "the fuzzer's hypervisor cannot wait for memory");
  }
  Status open_incoming() override { return {}; }
  Status load(Bytes) override {
    check(!complete_);
    ++pieces_;
    return {};
  }
  Status finish_load() override {
    complete_ = true;
    return {};
  }
  Status check_unchanged() override { return {}; }
  Status await_loaded(Duration) override {
    check(complete_);
    if (behaves_ == Behaves::kFailsToLoad) return fail(ErrorKind::kHypervisor, "it cannot load this");
    loaded_ = true;
    return {};
  }
  Status resume() override {
    may_run();
    check(behaves_ != Behaves::kPaused);
    if (behaves_ == Behaves::kRefusesToRun) return fail(ErrorKind::kRefused, "its disk is locked");
    if (behaves_ == Behaves::kFailsToRun) return fail(ErrorKind::kHypervisor, "it cannot run this");
    runs = true;
    return {};
  }
  Status end_unrun() override {
    check(!runs);
    ended = true;
    return {};
  }
  Status stay_paused() override {
    may_run();
    check(behaves_ == Behaves::kPaused);
    runs = true;
    return {};
  }
  Status announce() override {
    check(runs);
    return {};
  }
  void warm_up(ChunkIndex, PageWord) noexcept override { check(runs); }
  void give_up() noexcept override { check(!runs); }
  Status check_alive() const override {
    return ended ? Status(fail(ErrorKind::kHypervisor, "it has ended")) : Status{};
  }
  Status check_waits() const override { return check_alive(); }
  void interrupt() noexcept override {}

  bool runs = false;  ///< or is here, paused as it was
  std::atomic<bool> ended{false};

 private:
  /// The one thing that must never be wrong.
  void may_run() const {
    check(!runs && !ended && loaded_ && pieces_ > 0);
    check(source_.model.garbled || (source_.model.committed && source_.model.bad.empty()));
  }

  testing::PlainMemory& memory_;
  const Fingerprint& fingerprint_;
  Source& source_;
  const Behaves behaves_;
  std::string why_;
  std::atomic<unsigned> pieces_{0};
  std::atomic<bool> complete_{false}, loaded_{false};
};

// ---- one move

/// What is made once: the greeter's thread goes on from one move to the next.
struct Stage {
  Stage() {
    std::string name = std::filesystem::temp_directory_path() / "godwit-fuzz-XXXXXX";
    check(::mkdtemp(name.data()) != nullptr);
    journal.emplace(Journal::open(name, {1, 1}).value());
    // It is written to as before.
    std::filesystem::remove_all(name);
  }

  SteadyClock clock;
  std::optional<Journal> journal;
  testing::PlainMemory memory{layout()};
  const Fingerprint here = fingerprint();
  NoLateDecoders decoders;
  Doorway doorway;
  Broker broker{doorway, clock, 1, {}};
  std::uint64_t moves = 0;
};

wire::Secret next_secret(Stage& stage) {
  wire::Secret secret{};
  ++stage.moves;
  std::memcpy(secret.data(), &stage.moves, sizeof stage.moves);
  return secret;
}

/// Greets, and says the Hello of a source whose lane comes at once.
void open(Stage& stage, const std::shared_ptr<Source>& source, bool paused) {
  const auto greet = [&](bool lane) {
    class Into final : public Channel {
     public:
      Into(Source& to, bool is_lane) : to_(to), lane_(is_lane) {}
      Status write(std::span<const iovec> parts, const Deadline&) override {
        for (const iovec& part : parts) {
          const Bytes bytes(static_cast<const std::byte*>(part.iov_base), part.iov_len);
          lane_ ? to_.put_lane(bytes) : to_.put_control(bytes);
        }
        return {};
      }
      Result<std::size_t> read(MutableBytes, std::size_t, const Deadline&) override { return std::size_t{0}; }
      Status shut_down() override { return {}; }
      void abort() noexcept override {}
      Link& link() noexcept override { return link_; }

     private:
      Source& to_;
      bool lane_;
      QuietLink link_;
    };
    return Into(*source, lane);
  };
  const auto secret = next_secret(stage);
  auto control = greet(false);
  auto lane = greet(true);
  check(wire::send_greeting(control, {.role = wire::Role::kControl, .secret = secret}).has_value());
  check(wire::send_greeting(lane, {.role = wire::Role::kLane, .secret = secret}).has_value());
  const wire::Hello hello{
      .fingerprint = stage.here, .lanes = 1, .program = "a fuzzer", .open_lanes = 1, .paused = paused};
  check(wire::ControlConnection(control).send(hello).has_value());
  stage.doorway.come(std::make_unique<Connection>(source, false));
  stage.doorway.come(std::make_unique<Connection>(source, true));
}

void check_end(const Source& source, const FuzzVm& vm, const SinkReport& report, Behaves behaves) {
  const Model& model = source.model;
  check((report.outcome == Outcome::kDone) == vm.runs);
  check(source.done == vm.runs);
  if (source.refused) {
    check(!source.refused->reason.empty() && !vm.runs);
    check(!source.refused->never_ran || vm.ended);
  }
  if (!model.committed && !model.garbled) check(!vm.runs && report.outcome != Outcome::kInDoubt);
  const bool well = behaves == Behaves::kWell || behaves == Behaves::kPaused;
  if (source.surely_committed) check(vm.runs == well);
  if (!model.lane_clean || !well) return;
  if (!model.bad.empty()) {
    check(source.refused && source.refused->kind == name_of(ErrorKind::kProtocol));
    const auto says = [&](const std::string& what) { return source.refused->reason.find(what) != std::string::npos; };
    check(says(model.bad) || (!model.or_bad.empty() && says(model.or_bad)));
  }
  // The source is not told of these; and before a map another one is waited for.
  if (model.malformed && model.map_began) check(report.error && report.error->kind == ErrorKind::kProtocol);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  // Never taken down: its thread would be ended by whatever else ends the program.
  static Stage& stage = *new Stage;
  Input input(data, size);
  static constexpr Behaves kWays[] = {Behaves::kWell,        Behaves::kWell,         Behaves::kWell,
                                      Behaves::kPaused,      Behaves::kRefusesToRun, Behaves::kFailsToRun,
                                      Behaves::kFailsToLoad, Behaves::kWell};
  const Behaves behaves = kWays[input.byte() % 8];
  const Script script(input);
  const auto source = std::make_shared<Source>(script.steps());
  FuzzVm vm(stage.memory, stage.here, *source, behaves);
  std::byte& witness = *stage.memory.at(ChunkIndex{0}, 0);
  witness = std::byte{0xee};

  std::stop_source stop;
  const SinkParts parts{.listener = stage.doorway,
                        .journal = *stage.journal,
                        .fingerprint = stage.here,
                        .open_vm = [&](const Fingerprint&, DeviceWay) -> Result<SinkVm*> { return &vm; },
                        .clock = stage.clock,
                        .kernels = best_kernels({}),
                        .decoders = stage.decoders,
                        .start_patience = {},
                        .on_milestone = [](Milestone) {},
                        .on_note =
                            [&](std::string_view note) {
                              // Nobody else comes.
                              if (note.find("waiting for a source again") != note.npos) stop.request_stop();
                            },
                        .cancelled = stop.get_token(),
                        .program = "fuzz"};
  open(stage, source, behaves == Behaves::kPaused);
  const SinkReport report = run_sink(parts, stage.broker);
  check_end(*source, vm, report, behaves);
  if (!source->model.map_began) check(witness == std::byte{0xee});
  return 0;
}
