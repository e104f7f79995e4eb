// One client of a ControlServer, as the server sees it: bytes that come, lines that are answered, bytes that go.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "base/unique_fd.h"

namespace godwit {

class ControlClient {
 public:
  using Instant = std::chrono::steady_clock::time_point;
  using Answer = std::function<std::string(std::string_view)>;

  /// A socket that does not block.
  ControlClient(UniqueFd socket, Instant now);

  int socket() const noexcept { return socket_.get(); }
  /// What poll(2) is to wait for: POLLOUT while an answer waits, else POLLIN.
  short awaits() const noexcept;
  /// When it is too late: for the next request, or to take its answer.
  Instant deadline() const noexcept { return deadline_; }
  /// After poll(2) has found something. False: the connection is over.
  bool go_on(const Answer& answer, Instant now);

 private:
  bool read();
  bool answer_lines(const Answer& answer);
  bool write();

  UniqueFd socket_;
  Instant deadline_;
  std::string in_;
  std::string out_;
  bool last_ = false;  ///< nothing is read any more: it goes when it has taken its answer
};

}  // namespace godwit
