// Greets whoever connects, all of them side by side, and hands over those who have said who they are.
//
//   listener --> strangers, each under its own deadlines --whole Hello--> Desk::take_source()
//                  |                                     --lane---------> Desk::take_lane()
//                  |                                     --link test----> Desk::take_link_test()
//                  +-- silent, slow, no Godwit: turned away, with a note
//
// One thread reads what has come and waits for nobody; the number of connections is bounded. So whoever says nothing,
// or a byte now and then, holds nobody up, and a source that does not get as far as a whole Hello has never been here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
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

/// A connection that has been greeted, and cannot stay.
struct TurnedAway {
  std::unique_ptr<Channel> channel;
  std::string why;
  bool answer = false;  ///< it can be told why: a source
};

/// Who takes those that have been greeted. All from the greeter's thread; whoever is given back is turned away.
class Desk {
 public:
  virtual ~Desk() = default;
  virtual std::vector<TurnedAway> take_source(GreetedSource source) = 0;
  /// `hello_comes`: a control connection with this secret has greeted and is saying Hello.
  virtual std::vector<TurnedAway> take_lane(GreetedLane lane, const wire::Secret& secret,
                                            const std::function<bool(const wire::Secret&)>& hello_comes) = 0;
  /// It is sent what is only counted (engine/link_test.h).
  virtual std::vector<TurnedAway> take_link_test(std::unique_ptr<Channel> channel) = 0;
  /// Those that nobody takes any more.
  virtual std::vector<TurnedAway> clear_out() = 0;
  /// Some wait, for whom time counts.
  virtual bool some_wait() const = 0;
  /// Nobody will come any more.
  virtual void listening_ended(const Error& error) = 0;
};

class Greeter {
 public:
  /// `on_note` and `wrap`, which is put around each connection before it greets, are called from the greeter's thread.
  /// The others outlive this.
  Greeter(Listener& listener, const Clock& clock, Desk& desk, OnNote on_note, Wrap wrap = {});
  ~Greeter();
  /// The desk has something to clear out. Any thread.
  void look_again() noexcept { wake_.wake(); }

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

  void run(const std::stop_token& stop);
  bool wait();
  void take_connection();
  void make_room();
  void drop_oldest(bool sources);
  bool hear(Stranger& stranger);
  void hand_over(Stranger& stranger);
  Duration patience_with(const Stranger& stranger) const noexcept;
  void drop_late();
  void let_leave();
  void turn_away(std::vector<TurnedAway> those);
  void turn_away(TurnedAway one);
  void note(const std::string& why);

  Listener& listener_;
  const Clock& clock_;
  Desk& desk_;
  OnNote on_note_;
  Wrap wrap_;
  Wake wake_;
  std::vector<Stranger> strangers_;  ///< in the order in which they came
  std::vector<Stranger> leaving_;    ///< to be put among them
  bool listening_ = true;
  Instant rests_until_{};   ///< takes no connections before: this process had no room for one
  Instant noting_since_{};  ///< the first of those
  unsigned notes_ = 0;
  std::uint64_t unsaid_ = 0;  ///< that were turned away without a note
  std::jthread thread_;
};

}  // namespace godwit
