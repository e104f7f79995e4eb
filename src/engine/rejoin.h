// A source tries to get back to its sink, again and again, in a thread of its own.
//
//   connect, greeting with a new secret --Hello(rejoin: the session's first secret)--> Welcome(rejoin) --> lanes
//        ^                                             |                                      |
//        +--- a moment later --- it does not answer ---+--------------------------------------+
//                                                      +--Refusal--> there is no way back
//
// A source that only changes the number of its lanes has lost nothing: it opens all connections first, says Hello when
// it is told to, and tries once.
//
// And one that has given up before it was back says so, if it gets there within a moment.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "engine/mailbox.h"
#include "engine/source.h"
#include "wire/control.h"

namespace godwit {

/// New connections to the sink, which has ended the old ones.
struct Rejoined {
  std::unique_ptr<Channel> control;
  std::vector<std::unique_ptr<Channel>> lanes;
  std::unique_ptr<Channel> urgent;  ///< if asked for
};

class Rejoin {
 public:
  struct Wanted {
    /// With the proof; `attempt` is the latest so far. With `changes_lanes` there is one try, which stops before Hello.
    wire::Hello hello;
    bool urgent = false;  ///< the last of hello.lanes is the connection for urgent pages
  };
  /// `parts` outlives it.
  Rejoin(const SourceParts& parts, Wanted wanted);
  /// Opens no more, and waits for none.
  ~Rejoin();

  /// Once there is something: the connections, or that the sink does not take this source back.
  std::optional<Result<Rejoined>> take();
  /// With `changes_lanes`: all connections are open. Nothing has been said on them.
  bool is_open() const noexcept { return open_; }
  /// Once they are: the sink is told, and parts from the old ones.
  void say_hello();
  /// Why the latest try has failed; empty: none has.
  std::string latest() const { return latest_.look(); }
  /// As the destructor: the number of the latest try, after which there is none.
  std::uint32_t end();

 private:
  void run(const std::stop_token& stop);
  /// Of one try.
  struct Opened {
    std::unique_ptr<Channel> control;
    bool as_at_first = false;  ///< control goes where the first connection went
    std::vector<Result<std::unique_ptr<Channel>>> lanes;
    std::unique_ptr<Channel> urgent;
  };

  Result<Rejoined> once(const std::stop_token& stop);
  Status connect_control(Opened& opened, const std::stop_token& stop) const;
  Status connect_lanes(Opened& opened, const std::stop_token& stop) const;
  Status await_word(const std::stop_token& stop);
  Status be_welcomed(const Opened& opened, const wire::Secret& secret);
  Result<Rejoined> greet(Opened opened, const wire::Secret& secret) const;
  unsigned lanes() const noexcept { return wanted_.hello.lanes - (wanted_.urgent ? 1U : 0U); }

  const SourceParts& parts_;
  Wanted wanted_;
  std::atomic<std::uint32_t> attempt_;
  Mailbox<std::string> latest_;
  Mailbox<std::optional<Result<Rejoined>>> found_;
  std::mutex mutex_;
  Channel* control_ = nullptr;  ///< of the try that is under way
  bool stopped_ = false;
  std::atomic<bool> open_{false};
  Mailbox<bool> may_say_hello_;
  std::jthread thread_;
};

/// Tells a sink whose link was lost, in a connection for nothing else, that this source has given up: `hello` as for a
/// Rejoin, with an `attempt` of its own. Whether it has got there within `at_most` nobody learns.
void say_late_goodbye(const SourceParts& parts, wire::Hello hello, const wire::Abort& why, Duration at_most);

}  // namespace godwit
