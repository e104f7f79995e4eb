// Whether the loss of a connection ends a move or is borne, and which loss is to be dealt with. One for each side.
//
//   any thread --lost()--> borne? --no--> an error, as any other
//                            |yes
//                            +--look()--> the coordinator parts from all connections, and waits for new ones
//
// Borne is what is lost while memory is copied. Before anything is done that cannot be done again on other connections
// the coordinator says that nothing is borne any more; what was lost until then comes first.
#pragma once

#include <mutex>
#include <optional>

#include "base/result.h"

namespace godwit {

class LinkWatch {
 public:
  /// That of a connection. What else fails, a connection's bytes included, would fail again; and what the peer says
  /// has come by a connection that is there.
  static bool is_loss(const Error& error) noexcept {
    return !error.at_peer && (error.kind == ErrorKind::kPeerLost || error.kind == ErrorKind::kTimedOut);
  }

  /// Any thread. False: it is not borne. The first loss is kept.
  bool lost(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!bears_ || !is_loss(error)) return false;
    if (!lost_) lost_ = error;
    return true;
  }
  bool bears() const {
    const std::lock_guard lock(mutex_);
    return bears_;
  }
  /// The coordinator's: the loss that is to be dealt with.
  std::optional<Error> look() const {
    const std::lock_guard lock(mutex_);
    return lost_;
  }
  void bear() {
    const std::lock_guard lock(mutex_);
    bears_ = true;
  }
  /// False: something has been lost, which has to be dealt with first; it is still borne.
  bool bear_no_more() {
    const std::lock_guard lock(mutex_);
    if (!lost_) bears_ = false;
    return !bears_;
  }
  /// Whoever could tell of the old connections has ended.
  void forget() {
    const std::lock_guard lock(mutex_);
    lost_.reset();
  }

 private:
  mutable std::mutex mutex_;
  bool bears_ = false;
  std::optional<Error> lost_;
};

}  // namespace godwit
