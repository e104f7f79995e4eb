#include "tests/support/breaking_net.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <thread>

namespace godwit::testing {

namespace {
using std::chrono::milliseconds;

// A connection that hangs is given up by its sender after this time, and by who waits for it.
constexpr Duration kDead = milliseconds(20);
// Nothing on the way that hangs not: the peer beats once a second, but not before Welcome.
constexpr Duration kMissedBeat = milliseconds(1500);
constexpr Duration kNoWelcome = milliseconds(60);
constexpr milliseconds kLookAround(2);
}  // namespace

std::string name_of(Break::Kind kind) {
  switch (kind) {
    case Break::Kind::kCut:
      return "cut";
    case Break::Kind::kFail:
      return "fail";
    case Break::Kind::kHang:
      return "hang";
    case Break::Kind::kSwallow:
      return "swallow";
  }
  return "";
}

class BreakingNet::State {
 public:
  explicit State(std::optional<Break> breaks) : break_(std::move(breaks)) {}

  /// Notes what is sent, and tells how much of it passes if the connection breaks at it.
  std::optional<std::size_t> send(unsigned connection, bool by_source, std::string what, std::size_t size) {
    const std::lock_guard lock(mutex_);
    Unit unit{.connection = connection, .by_source = by_source, .what = std::move(what), .size = size};
    unit.occurrence = static_cast<unsigned>(std::ranges::count_if(units_, [&](const Unit& earlier) {
      return earlier.connection == connection && earlier.by_source == by_source && earlier.what == unit.what;
    }));
    units_.push_back(unit);
    if (unit.what == "message 0x81") (by_source ? source_beats_ : sink_beats_) = true;
    if (!break_ || struck_ || !unit.same_place(break_->unit)) return std::nullopt;
    return std::min(break_->passes, size);
  }
  /// Of the break.
  Break::Kind kind() const { return break_->kind; }
  bool is_way(unsigned connection, bool by_source) const {
    return break_ && break_->unit.connection == connection && break_->unit.by_source == by_source;
  }
  void strike() { struck_ = true; }
  bool struck() const { return struck_; }
  bool hangs() const {
    return struck_ && (break_->kind == Break::Kind::kHang || break_->kind == Break::Kind::kSwallow);
  }
  bool beats(bool by_source) const { return by_source ? source_beats_ : sink_beats_; }
  std::vector<Unit> units() const {
    const std::lock_guard lock(mutex_);
    return units_;
  }
  unsigned next_connection() { return connections_++; }

 private:
  const std::optional<Break> break_;
  std::atomic<bool> struck_{false};
  std::atomic<bool> source_beats_{false}, sink_beats_{false};
  std::atomic<unsigned> connections_{0};
  mutable std::mutex mutex_;
  std::vector<Unit> units_;
};

namespace {

/// One end of a connection.
class End final : public Channel {
 public:
  End(std::unique_ptr<Channel> inner, std::shared_ptr<BreakingNet::State> state, unsigned connection, bool source)
      : inner_(std::move(inner)), state_(std::move(state)), connection_(connection), source_(source) {}

  Status write(std::span<const iovec> parts, const Deadline& until) override {
    std::vector<std::byte> bytes;
    for (const iovec& part : parts) {
      const auto* begin = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), begin, begin + part.iov_len);
    }
    if (dead_) return lost("send");
    if (broken_) return go_on_sending();
    const auto passes = state_->send(connection_, source_, what(bytes), bytes.size());
    if (!passes) return inner_->write(parts, until);
    TRY(send_bytes(*inner_, Bytes(bytes).first(*passes)));
    broken_ = true;
    state_->strike();
    if (state_->kind() == Break::Kind::kCut) {
      dead_ = true;
      inner_->abort();
    }
    return *passes == bytes.size() ? Status{} : go_on_sending();
  }

  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override {
    auto since = std::chrono::steady_clock::now();
    for (std::size_t have = 0;;) {
      const std::size_t got = TRY(take(room.subspan(have)));
      have += got;
      if (have >= at_least) return have;
      const auto now = std::chrono::steady_clock::now();
      if (got != 0) since = now;
      if (until.over() || now - since >= patience()) return fail(too_late(until).error());
      pollfd waiting{.fd = link().descriptor(), .events = POLLIN, .revents = 0};
      if (deaf()) waiting.fd = -1;
      ::poll(&waiting, 1, static_cast<int>(kLookAround.count()));
    }
  }
  Status shut_down() override { return dead_ ? lost("finish sending") : inner_->shut_down(); }
  void abort() noexcept override {
    aborted_ = true;
    inner_->abort();
  }
  Link& link() noexcept override { return inner_->link(); }

 private:
  /// What has come.
  Result<std::size_t> take(MutableBytes room) {
    if (aborted_) return fail(ErrorKind::kCancelled, "receive: the connection was aborted");
    if (dead_) return fail(lost("receive").error());
    auto got = inner_->read(room, 0, Deadline::never());
    if (got || aborted_) return got;
    if (deaf()) return std::size_t{0};
    if (dead_) return fail(lost("receive").error());
    return got;
  }
  std::string what(Bytes bytes) {
    if (source_ && !std::exchange(greeted_, true)) return "greeting";
    const auto first = std::to_integer<unsigned>(bytes[0]);
    return connection_ == 0 ? fmt::format("message 0x{:02x}", first) : fmt::format("frame {}", first);
  }
  /// From the break on.
  Status go_on_sending() {
    switch (state_->kind()) {
      case Break::Kind::kCut:
      case Break::Kind::kFail:
        return lost("send");
      case Break::Kind::kSwallow:
        return aborted_ ? fail(ErrorKind::kCancelled, "send: the connection was aborted") : Status{};
      case Break::Kind::kHang:
        for (auto waited = Duration::zero(); waited < kDead && !aborted_; waited += kLookAround) {
          std::this_thread::sleep_for(kLookAround);
        }
        dead_ = true;
        return lost("send");
    }
    return {};
  }
  Status lost(const char* during) const {
    if (aborted_) return fail(ErrorKind::kCancelled, std::string(during) + ": the connection was aborted");
    return fail(ErrorKind::kPeerLost, std::string(during) + ": the connection broke");
  }
  /// Nothing more comes from the other end.
  bool silent() const { return state_->struck() && state_->is_way(connection_, !source_); }
  /// Not even an end of the connection.
  bool deaf() const { return silent() && state_->hangs(); }
  Duration patience() const {
    // Keepalive tells of a dead peer, but not of one behind something that answers for it.
    if (silent()) return kDead;
    return state_->struck() ? Duration(state_->beats(!source_) ? kMissedBeat : kNoWelcome) : Duration::max();
  }
  Status too_late(const Deadline& until) const {
    if (until.is_never()) return lost("receive");
    return fail(ErrorKind::kTimedOut, "receive: nothing came");
  }

  std::unique_ptr<Channel> inner_;
  std::shared_ptr<BreakingNet::State> state_;
  const unsigned connection_;
  const bool source_;
  bool greeted_ = false;  ///< the sending thread's
  std::atomic<bool> broken_{false};
  std::atomic<bool> dead_{false};
  std::atomic<bool> aborted_{false};
};

/// Gives what connect() has put into it.
class Queue final : public Listener {
 public:
  void put(std::unique_ptr<Channel> channel) {
    const std::lock_guard lock(mutex_);
    waiting_.push_back(std::move(channel));
    post();
  }
  Result<std::unique_ptr<Channel>> accept(Duration) override {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto taken = ::read(ready_.get(), &count, sizeof count);
    const std::lock_guard lock(mutex_);
    if (aborted_) return fail(ErrorKind::kCancelled, "listening was aborted");
    if (waiting_.empty()) return fail(ErrorKind::kTimedOut, "nobody connected in time");
    auto channel = std::move(waiting_.front());
    waiting_.pop_front();
    return channel;
  }
  void abort() noexcept override {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    post();
  }
  int descriptor() const noexcept override { return ready_.get(); }
  Address address() const override { return {.kind = Address::Kind::kUnix, .host = {}, .path = "in this process"}; }

 private:
  void post() noexcept {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(ready_.get(), &one, sizeof one);
  }
  UniqueFd ready_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE)};
  std::mutex mutex_;
  std::deque<std::unique_ptr<Channel>> waiting_;
  bool aborted_ = false;
};

}  // namespace

BreakingNet::BreakingNet(std::optional<Break> breaks)
    : state_(std::make_shared<State>(std::move(breaks))), listener_(std::make_unique<Queue>()) {}
BreakingNet::~BreakingNet() = default;

Result<std::unique_ptr<Channel>> BreakingNet::connect() {
  auto pair = TRY(make_channel_pair());
  const unsigned number = state_->next_connection();
  static_cast<Queue&>(*listener_).put(std::make_unique<End>(std::move(pair.second), state_, number, false));
  return std::unique_ptr<Channel>(std::make_unique<End>(std::move(pair.first), state_, number, true));
}

Listener& BreakingNet::listener() noexcept {
  return *listener_;
}
bool BreakingNet::struck() const noexcept {
  return state_->struck();
}
std::vector<Unit> BreakingNet::units() const {
  return state_->units();
}

}  // namespace godwit::testing
