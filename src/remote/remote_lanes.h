// The connections of a move that go through the remote shell themselves, where no port but ssh's is open.
//
//   Channel <--- socket pair ---> ssh ... 'godwit relay SOCKET' <--- SOCKET ---> godwit receive
//
// One child for each connection, on one login where the shell is ssh (ssh_target.h). Such a channel is a Unix socket:
// its deadlines and its end are those of any other, and a remote shell that ends is a peer that has closed it.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/channel.h"
#include "remote/remote_shell.h"

namespace godwit {

class RemoteLanes {
 public:
  /// `command`: for each of them. `peer`: for messages. `errors`: where they say what they have to say.
  RemoteLanes(std::vector<std::string> command, std::string peer, UniqueFd errors)
      : command_(std::move(command)), peer_(std::move(peer)), errors_(std::move(errors)) {}
  /// As end() without waiting.
  ~RemoteLanes() = default;

  /// Starts one more; whether it reaches the other side shows only when something comes from there. Any thread.
  Result<std::unique_ptr<Channel>> connect();

  /// The channels are closed: waits so long until their children have ended by themselves, and ends the others.
  void end(Duration patience);

 private:
  const std::vector<std::string> command_;
  const std::string peer_;
  std::mutex mutex_;
  UniqueFd errors_;
  std::vector<RemoteShell> children_;
};

}  // namespace godwit
