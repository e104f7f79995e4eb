// How much the link between two hosts carries: what a forecast asks before any VM is moved.
//
//   source: connections, each greets and sends blocks for a while --> sink: counts what comes, and answers with that
//
// Nothing of a VM goes over them.
#pragma once

#include <atomic>
#include <functional>
#include <list>
#include <memory>
#include <stop_token>
#include <thread>

#include "base/units.h"
#include "net/channel.h"

namespace godwit {

/// At the sink. One thread's.
class LinkTests {
 public:
  LinkTests() = default;
  ~LinkTests();
  /// One that has greeted; false: there are too many.
  bool take(std::unique_ptr<Channel>& channel);

 private:
  struct Test {
    std::unique_ptr<Channel> channel;
    std::atomic<bool> over{false};
    std::jthread thread;
  };
  std::list<Test> tests_;
};

/// At the source: over so many connections at once, sent for `length`, not less than a second. kRefused where the other
/// side does not measure: a VM comes to it, or it is of another version. Errors as connect_to(); kCancelled.
Result<BitRate> measure_link(const std::function<Result<std::unique_ptr<Channel>>()>& connect, unsigned connections,
                             Duration length, const std::stop_token& cancelled);

}  // namespace godwit
