// A `godwit receive` that this side has started on another host, from its start to its end.
//
//   near:  start ------ key --- a line every 5 s ---------------- input closed
//   far:         hello      listening ... (the move, by TCP) ...               report, exit
//
// Only the conversation is here; the guest's memory and the commit go over connections of their own, so whatever
// happens to the remote shell changes nothing about where the guest runs.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/task_queue.h"
#include "base/wake.h"
#include "remote/remote_message.h"
#include "remote/remote_shell.h"

namespace godwit {

struct RemoteLimits {
  /// Until the far side's hello: somebody may have to type a password, for which sshd gives two minutes.
  Duration hello = std::chrono::minutes(5);
  /// From the hello until it listens: it looks at its QEMU meanwhile.
  Duration listening = std::chrono::seconds(60);
  /// Between two signs of life for the far side, which cancels when it hears nothing for long (near_side.h).
  Duration sign_of_life = std::chrono::seconds(5);
};

struct RemoteReceiverOptions {
  std::vector<std::string> command;  ///< the remote shell and its words
  std::string host;                  ///< for messages
  std::string program;               ///< for messages: "godwit 0.1.0"
  std::string remote_godwit;         ///< for messages: what is started there
  /// A line of the far side's errors, or of the remote shell's, as it came. From a thread of the receiver
  /// that does nothing else: it may block, and lines are lost then.
  std::function<void(std::string_view)> on_line;
  RemoteLimits limits = {};
};

/// What is known of the far side once it is over.
struct RemoteEnd {
  std::optional<RemoteReport> report;  ///< none: it could not tell any more
  std::optional<ChildEnd> shell;       ///< how the remote shell has ended
  bool in_time = false;                ///< it has, by itself, or has told all
};

class RemoteReceiver {
 public:
  /// SIGPIPE must be ignored in this process. From a thread that runs as long as the receiver.
  static Result<std::unique_ptr<RemoteReceiver>> start(RemoteReceiverOptions options);
  /// As finish() without waiting.
  ~RemoteReceiver();

  /// Hands over the key (a line without its end) once a Godwit has said hello, and waits until it listens. An error is
  /// one sentence that names the host, and what is to be done there or here. kCancelled where `cancelled` says so.
  Result<Address> listening_at(std::string_view key_line, const std::stop_token& cancelled);

  /// For remote shells beside this one, whose errors are shown with its own.
  Result<UniqueFd> errors_for_others() const { return shell_.errors_for_others(); }

  /// Nothing can be heard of the far side any more.
  bool has_ended() const;

  /// The move is over on this side: lets the far side end, waits for its report for no longer than this, then ends the
  /// remote shell. As often as wanted.
  RemoteEnd finish(Duration patience);

 private:
  static constexpr std::size_t kMostUntold = 256;
  explicit RemoteReceiver(RemoteReceiverOptions options, RemoteShell shell)
      : options_(std::move(options)), shell_(std::move(shell)) {}
  void run();
  bool look(Duration most);
  bool drain(UniqueFd& from, LineBuffer& lines, bool errors);
  void tell_line(std::string_view line);
  void take_line(std::string_view line, bool errors);
  void give_sign_of_life();
  void send_key(std::string_view key_line);
  bool over() const { return ended_ || output_ended_; }
  Error why_it_ended(std::unique_lock<std::mutex>& lock) const;
  Error why_no_hello(const std::string& last) const;
  std::string last_words() const;

  const RemoteReceiverOptions options_;
  RemoteShell shell_;  ///< its pipes are the thread's, except for the input
  Wake wake_;
  LineBuffer lines_{64 * 1024};
  LineBuffer error_lines_{4 * 1024};

  mutable std::mutex mutex_;
  mutable std::condition_variable_any changed_;
  std::optional<RemoteHello> hello_;
  std::optional<RemoteListening> listening_;
  std::optional<RemoteReport> report_;
  std::optional<ChildEnd> ended_;
  bool output_ended_ = false;
  bool key_sent_ = false;
  std::string last_noise_;  ///< what came on standard output and was not a message
  std::string last_error_;
  bool stop_ = false;
  TaskQueue telling_{kMostUntold};  ///< on_line(): a terminal that takes nothing must not hold back signs of life
  std::thread thread_;
};

}  // namespace godwit
