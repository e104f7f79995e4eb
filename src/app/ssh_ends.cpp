#include "app/ssh_ends.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "app/error_text.h"
#include "app/printable.h"
#include "app/report_json.h"
#include "app/report_text.h"
#include "app/say.h"
#include "app/version.h"
#include "engine/journal_file.h"

namespace godwit {

namespace {

constexpr std::string_view kSshKeyIdentity = "handed-over-by-ssh";

// How long a destination may take to end and to tell. In doubt it may go on for 60 s to ask its QEMU to let the guest
// run, and its word is what the operator needs then.
constexpr Duration kUntilReport = std::chrono::seconds(15);
constexpr Duration kUntilReportInDoubt = std::chrono::seconds(75);
// For all connections of --ssh-data: one that asks for a password takes as long as somebody types.
constexpr Duration kUntilLanesStart = std::chrono::seconds(120);
// Children of connections that are closed at both ends.
constexpr Duration kUntilLanesEnd = std::chrono::seconds(3);

std::string line_from(const std::string& host, std::string_view line) {
  return fmt::format("{}: {}", host, printable(line));
}

/// The words that start `godwit receive` there.
std::vector<std::string> receive_words(const SshOptions& options) {
  std::vector<std::string> words = options.remote_godwit;
  words.insert(words.end(), {"receive", "--over-ssh", "--qmp", options.target.path});
  if (options.via) words.insert(words.end(), {"--listen", format_address(*options.via)});
  if (options.data) words.emplace_back("--ssh-data");
  if (options.resume) words.emplace_back("--resume");
  if (options.lenience.any_vm) words.emplace_back("--any-vm");
  if (options.lenience.any_disks) words.emplace_back("--any-disks");
  if (options.start_timeout) {
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(*options.start_timeout).count();
    words.insert(words.end(), {"--start-timeout", fmt::format("{}ms", ms)});
  }
  return words;
}

/// What connects to `at` there, by one more remote shell.
Result<std::unique_ptr<RemoteLanes>> make_lanes(const RemoteReceiver& remote, const SshOptions& options,
                                                const Address& at, const SharedLogin& login) {
  std::vector<std::string> words = options.remote_godwit;
  words.insert(words.end(), {"relay", "--socket", at.path});
  return std::make_unique<RemoteLanes>(remote_command(options.shell, options.target, words, login),
                                       options.target.host + " by " + options.shell.front(),
                                       TRY(remote.errors_for_others()));
}

}  // namespace

Result<Destination> start_ssh_destination(const SshOptions& options, const Goals& goals,
                                          const std::stop_token& cancelled,
                                          std::function<void(std::string_view)> on_line) {
  const std::string& host = options.target.host;
  const KeyBytes key_line = TRY(new_shared_key_line(kSshKeyIdentity));
  SharedKey key = TRY(parse_shared_key(key_line.text(), "the key for ssh"));
  auto tls = TRY(TlsContext::make(TlsSide::kClient, std::move(key), ""));
  Destination made;
  // Gone when all connections are there.
  std::optional<PrivateFolder> folder;
  std::optional<SharedLogin> login;
  if (options.data) {
    folder.emplace(TRY(PrivateFolder::make(default_state_folder())));
    login = SharedLogin{.socket = folder->path() + "/login", .owner = true};
  }
  RemoteLimits limits;
  limits.hello = std::min(limits.hello, goals.timeout);
  made.tls = std::move(tls);
  made.remote = TRY(RemoteReceiver::start({
      .command = remote_command(options.shell, options.target, receive_words(options), login),
      .host = host,
      .program = std::string(kProgram),
      .remote_godwit = options.remote_godwit.front(),
      .on_line = [host, on_line = std::move(on_line)](std::string_view line) { on_line(line_from(host, line)); },
      .limits = limits,
  }));
  made.to = TRY(made.remote->listening_at(key_line.text(), cancelled));
  const bool listens_on_socket = made.to.kind == Address::Kind::kUnix;
  if (listens_on_socket != options.data) {
    return fail(ErrorKind::kRefused,
                fmt::format("{}: it listens on {}, which nobody has asked for", host, format_address(made.to)));
  }
  if (login) {
    login->owner = false;
    made.lanes = TRY(make_lanes(*made.remote, options, made.to, *login));
    TRY(made.lanes->open(goals.lanes + 1, std::min(kUntilLanesStart, goals.timeout), cancelled));
  }
  return made;
}

Report with_ssh_named(Report report, const RemoteReceiver& remote, const SshOptions& options) {
  if (report.error && report.error->kind == ErrorKind::kCancelled && report.error->at_peer && remote.has_ended()) {
    report.error->kind = ErrorKind::kPeerLost;
    report.error->message = fmt::format("the connection of {} to {} has broken, so the destination gave up",
                                        options.shell.front(), options.target.host);
  }
  return report;
}

std::string end_ssh_destination(Destination& destination, const SshOptions& options, Outcome outcome) {
  const std::string& host = options.target.host;
  // One that goes on to ask its QEMU does so for that long.
  const Duration in_doubt = options.start_timeout ? *options.start_timeout + kUntilReport : kUntilReportInDoubt;
  const RemoteEnd end = destination.remote->finish(outcome == Outcome::kInDoubt ? in_doubt : kUntilReport);
  if (destination.lanes) destination.lanes->end(kUntilLanesEnd);
  if (!end.report) {
    say_note(fmt::format("{} has not told how it ended (`godwit probe` there does): {}", host,
                         end.in_time ? fmt::format("the connection of {} has broken", options.shell.front())
                                     : "it has not answered any more"));
    return {};
  }
  std::istringstream lines(end.report->text);
  for (std::string line; std::getline(lines, line);) say(stderr, line_from(host, line) + "\n");
  return end.report->json;
}

Result<ReceiveTrust> take_ssh_trust(NearSide& near, const Address& listen, bool data) {
  if (::isatty(STDIN_FILENO) != 0) {
    return fail(ErrorKind::kInvalidArgument,
                "--over-ssh: is for `godwit send --to ssh://...`, which starts it without a terminal");
  }
  near.tell(RemoteHello{.program = std::string(kProgram)});
  const KeyBytes line = TRY(near.key_line());
  SharedKey key = TRY(parse_shared_key(line.text(), "what came by ssh"));
  ReceiveTrust trust;
  trust.listen = listen;
  trust.tls = TRY(TlsContext::make(TlsSide::kServer, std::move(key), ""));
  if (data) {
    trust.folder.emplace(TRY(PrivateFolder::make(default_state_folder())));
    trust.listen = {.kind = Address::Kind::kUnix, .host = {}, .path = trust.folder->path() + "/socket"};
  } else if (listen.kind == Address::Kind::kTcp && listen.host.empty()) {
    trust.listen = TRY(address_of_ssh(std::getenv("SSH_CONNECTION")));
  }
  return trust;
}

OnMilestone removing_when_connected(std::optional<PrivateFolder>& folder, OnMilestone then) {
  if (!folder) return then;
  return [&folder, then = std::move(then)](Milestone milestone) {
    if (milestone == Milestone::kWelcomed) folder->remove();
    if (then) then(milestone);
  };
}

RemoteReport ssh_report_of(const SinkReport& report, int exit_code, const OwnRights& own) {
  // What to do next is the near side's to say, except where nobody but this side can know.
  std::string text = report.outcome == Outcome::kDone ? render_report(report) : describe_failure(report, own);
  if (report.outcome != Outcome::kDone && report.outcome != Outcome::kInDoubt) text = text.substr(0, text.rfind('\n'));
  return {.exit_code = exit_code,
          .json = report_json(report),
          .text = std::move(text),
          .error = report.error ? report.error->message : std::string()};
}

}  // namespace godwit
