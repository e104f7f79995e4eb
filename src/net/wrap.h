// What may be put around a connection between its opening and its greeting: encryption, for one.
//
//   accepted:   listener --> Wrap --> stranger: handshake, greeting, Hello as they trickle in, all under its deadlines
//   connected:  connect  --> Wrap, handshake --> greeting
//
// The channel that comes out stands for the one that went in, with the link of the one that went in.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>

#include "net/channel.h"

namespace godwit {

using Connect = std::function<Result<std::unique_ptr<Channel>>()>;

enum class Whereto {
  kAsBefore,    ///< where the latest connection went that was opened
  kAsAtFirst,   ///< where the first one went
  kAnyAddress,  ///< to whichever address of the name answers
};
/// One more connection after others were lost; kCancelled soon after a stop is requested.
using Reconnect = std::function<Result<std::unique_ptr<Channel>>(Whereto where, const std::stop_token& stop)>;

/// Around an accepted connection it waits for nothing: the handshake goes on in read() for at least 0, which gives 0
/// until it is over and fails if it fails, and whose answers fit into the buffer of a fresh socket. Bytes that it holds
/// decoded do not make poll(2) return: whoever polls reads until read() gives 0. Empty: nothing is put around.
using Wrap = std::function<Result<std::unique_ptr<Channel>>(std::unique_ptr<Channel> fresh)>;

/// Connections that `wrap` has been put around. It may wait for the peer then, within a time of its own; many threads
/// at once.
inline Connect wrapped(Connect connect, Wrap wrap) {
  if (!wrap) return connect;
  return [connect = std::move(connect), wrap = std::move(wrap)]() -> Result<std::unique_ptr<Channel>> {
    return wrap(TRY(connect()));
  };
}

}  // namespace godwit
