// A source tries to get back to its sink, again and again, in a thread of its own.
//
//   connect, greeting with a new secret --Hello(rejoin: the session's first secret)--> Welcome(rejoin) --> lanes
//        ^                                             |                                      |
//        +--- a moment later --- it does not answer ---+--------------------------------------+
//                                                      +--Refusal--> there is no way back
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
    wire::Hello hello;    ///< with the proof; `attempt` is the latest so far
    bool urgent = false;  ///< the last of hello.lanes is the connection for urgent pages
  };
  /// `parts` outlives it.
  Rejoin(const SourceParts& parts, Wanted wanted);
  /// Opens no more, and waits for none.
  ~Rejoin();

  /// Once there is something: the connections, or that the sink does not take this source back.
  std::optional<Result<Rejoined>> take();
  /// Why the latest try has failed; empty: none has.
  std::string latest() const { return latest_.look(); }
  /// As the destructor: the number of the latest try, after which there is none.
  std::uint32_t end();

 private:
  void run(const std::stop_token& stop);
  Result<Rejoined> once(const std::stop_token& stop);
  Result<std::unique_ptr<Channel>> hold(std::unique_ptr<Channel> channel);

  const SourceParts& parts_;
  Wanted wanted_;
  std::atomic<std::uint32_t> attempt_;
  Mailbox<std::string> latest_;
  Mailbox<std::optional<Result<Rejoined>>> found_;
  std::mutex mutex_;
  Channel* control_ = nullptr;  ///< of the try that is under way
  bool stopped_ = false;
  std::jthread thread_;
};

/// Tells a sink whose link was lost, in a connection for nothing else, that this source has given up: `hello` as for a
/// Rejoin, with an `attempt` of its own. Whether it has got there within `at_most` nobody learns.
void say_late_goodbye(const SourceParts& parts, wire::Hello hello, const wire::Abort& why, Duration at_most);

}  // namespace godwit
