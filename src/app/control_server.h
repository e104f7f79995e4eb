// `send --control SOCKET`: a Unix socket on which the operator steers a move.
//
//   godwit control --a line--> [own thread] --answer_request()--> the move
//                  <--a line--
//
// One thread for all clients, which waits for none: each has a little room and a little time, there are few at once,
// and the move waits for nothing that happens here.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/wake.h"
#include "net/unix_socket_file.h"

namespace godwit {

class ControlServer {
 public:
  /// The answer to a line, both without a line end.
  using Answer = std::function<std::string(std::string_view)>;

  /// Binds `path`, for this user alone (0600), and listens. Clients that come wait until serve().
  static Result<std::unique_ptr<ControlServer>> listen(const std::string& path);
  ~ControlServer();

  /// Once; `answer` is called from a thread of its own until end().
  void serve(Answer answer);
  /// No `answer` is called any more.
  void end() noexcept;

 private:
  ControlServer() = default;
  void run();

  UnixSocketFile file_;
  UniqueFd socket_;
  Wake wake_;
  Answer answer_;
  std::jthread thread_;
};

}  // namespace godwit
