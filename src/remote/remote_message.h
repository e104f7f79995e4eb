// What `godwit receive --over-ssh` says on its standard output: one JSON object on a line.
//
//   hello      program, version of these lines         before anything else: only a Godwit is given the key
//   listening  address                                  when it waits for `send`
//   report     exit_code, report, text, error           at its end, whatever that was
//
// Other lines are noise, as a login shell prints them, and are passed over.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

#include "net/address.h"

namespace godwit {

/// Of these lines, and of what the near side says: a key, then a line now and then.
inline constexpr int kOverSshVersion = 1;

struct RemoteHello {
  std::string program;  ///< "godwit 0.1.0"
  int version = kOverSshVersion;
};
struct RemoteListening {
  Address at;
};
struct RemoteReport {
  int exit_code = 0;
  std::string json;   ///< docs/json.md, "sink-report": an object, on one line; empty if there is none
  std::string text;   ///< the same for people: lines
  std::string error;  ///< its message; empty if it is done
};
using RemoteMessage = std::variant<RemoteHello, RemoteListening, RemoteReport>;

/// With its line end.
std::string line_of(const RemoteMessage& message);
/// Nothing for a line that is not one and does not end with one, or lacks something.
std::optional<RemoteMessage> message_of(std::string_view line);

/// Bytes into lines. A line of more than `most` bytes is cut there; the rest of it is dropped.
class LineBuffer {
 public:
  explicit LineBuffer(std::size_t most) : most_(most) {}
  void add(std::string_view bytes, const std::function<void(std::string_view)>& on_line);
  /// What has come since the last line end, if anything has, is a line too.
  void flush(const std::function<void(std::string_view)>& on_line);

 private:
  std::size_t most_;
  std::string line_;
};

}  // namespace godwit
