// The connections of a move that go through the remote shell themselves, where no port but ssh's is open.
//
//   Channel <--- socket pair ---> ssh ... 'godwit relay SOCKET' <--- SOCKET ---> godwit receive
//
// One child for each connection, on one login where the shell is ssh (ssh_target.h). Such a channel is a Unix socket:
// its deadlines and its end are those of any other, and a remote shell that ends is a peer that has closed it.
//
// All are started before the move begins, since sshd starts them one after the other, and a loaded host takes a second
// for each. A relay connects when the first byte comes, so that the time for the greeting is not running meanwhile.
#pragma once

#include <memory>
#include <mutex>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "net/channel.h"
#include "remote/remote_shell.h"

namespace godwit {

/// What `godwit relay` says on standard output, on a line, once it has been started. What comes before is a login
/// shell's noise; what comes after is the move's.
inline constexpr std::string_view kRelayIsStarted = "godwit relay 1";

class RemoteLanes {
 public:
  /// `command`: for each of them. `peer`: for messages. `errors`: where they say what they have to say.
  RemoteLanes(std::vector<std::string> command, std::string peer, UniqueFd errors)
      : command_(std::move(command)), peer_(std::move(peer)), errors_(std::move(errors)) {}
  /// As end() without waiting.
  ~RemoteLanes() = default;

  /// Starts so many, and waits until all are there. Once. kPeerLost where one has ended, kTimedOut, kCancelled.
  Status open(unsigned count, Duration limit, const std::stop_token& cancelled);

  /// One of those, as long as there are any; else kPeerLost. Any thread.
  Result<std::unique_ptr<Channel>> connect();

  /// The channels are closed: waits so long until their children have ended by themselves, and ends the others.
  void end(Duration patience);

 private:
  Status await_relay(int near, Instant until, const std::stop_token& cancelled) const;

  const std::vector<std::string> command_;
  const std::string peer_;
  std::mutex mutex_;
  UniqueFd errors_;
  std::vector<UniqueFd> ready_;
  std::vector<RemoteShell> children_;
};

}  // namespace godwit
