// Greets whoever connects to a sink, all of them side by side, and hands over those who have said who they are.
//
//   listener --> strangers, each under its own deadlines --whole Hello--> sources --> await_source()
//                  |                                     --lane---------> lanes ----> await_lanes()
//                  +-- silent, slow, no Godwit: turned away, with a note
//
// One thread reads what has come and waits for nobody; the number of connections is bounded. So whoever says nothing,
// or a byte now and then, holds nobody up, and a source that does not get as far as a whole Hello has never been here.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/wake.h"
#include "net/channel.h"
#include "net/wrap.h"
#include "wire/opening.h"

namespace godwit {

using OnNote = std::function<void(std::string_view)>;

/// A source that has said a whole Hello and waits for the answer.
struct GreetedSource {
  std::unique_ptr<Channel> control;
  wire::Secret secret{};
  wire::Hello hello;
};

struct GreetedLane {
  std::uint16_t number = 0;  ///< as it greeted
  std::unique_ptr<Channel> channel;
};

/// await_...() and refuse_others() from one thread, interrupt() from any.
class Greeter {
 public:
  /// `on_note` and `wrap`, which is put around each connection before it greets, are called from the greeter's thread.
  /// The others outlive this.
  Greeter(Listener& listener, const Clock& clock, OnNote on_note, Wrap wrap = {});
  ~Greeter();

  /// The next source. kTimedOut after `patience` (zero: never), kCancelled after interrupt() or the listener's abort().
  Result<GreetedSource> await_source(Duration patience);
  /// The lanes 0 to `count` - 1 of that source, in rising order: `all`, or, where some do not come, those that have
  /// after a while. kPeerLost if too few have come in time; kProtocol if one came twice.
  Result<std::vector<GreetedLane>> await_lanes(const wire::Secret& secret, unsigned count, bool all);
  /// Until the next await_source() whoever comes is turned away, sources with this reason. Before, sources wait for
  /// their turn.
  void refuse_others(std::string why);
  /// Ends all waiting, for good.
  void interrupt() noexcept;

 private:
  struct Stranger {
    std::unique_ptr<Channel> channel;
    Instant came;
    wire::Opening opening;
    bool leaving = false;  ///< has been told why, and may read it
    bool source() const noexcept {
      return !leaving && opening.greeting() && opening.greeting()->role == wire::Role::kControl;
    }
  };
  struct ParkedLane {
    GreetedLane lane;
    wire::Secret secret{};
    Instant came;
  };

  // The thread's own.
  void run(const std::stop_token& stop);
  bool wait();
  void take_connection();
  void make_room();
  void drop_oldest(bool sources);
  bool hear(Stranger& stranger);
  bool has_said_all(Stranger& stranger);
  Duration patience_with(const Stranger& stranger) const noexcept;
  void drop_late();
  void clear_out();
  void turn_away(std::unique_ptr<Channel> channel, const std::string& why, bool answer);
  void note(const std::string& why);

  // With the mutex.
  Status waiting_may_go_on() const;
  Status collect_lanes(const wire::Secret& secret, unsigned count, std::vector<GreetedLane>& have);
  bool is_expected(const ParkedLane& lane) const;

  Listener& listener_;
  const Clock& clock_;
  OnNote on_note_;
  Wrap wrap_;
  Wake wake_;
  std::vector<Stranger> strangers_;  ///< in the order in which they came
  std::vector<Stranger> leaving_;    ///< to be put among them
  bool lanes_wait_ = false;          ///< for a source that takes them
  bool listening_ = true;
  Instant rests_until_{};  ///< takes no connections before: this process had no room for one
  unsigned notes_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<GreetedSource> sources_;
  std::vector<ParkedLane> lanes_;
  std::optional<wire::Secret> current_;  ///< of the source that was handed over last
  std::optional<std::string> refusal_;
  std::optional<Error> ended_;
  bool interrupted_ = false;

  std::jthread thread_;
};

}  // namespace godwit
