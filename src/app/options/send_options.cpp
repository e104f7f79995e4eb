// The options of `godwit send`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "app/exit_code.h"
#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"
#include "remote/near_side.h"
#include "wire/limits.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

constexpr const char* kSendExamples =
    "Examples:\n"
    "  godwit send --qmp /run/vm1.qmp --to tcp://[fd00::2]:4444 --bandwidth 2.5Gbit --codec lz4\n"
    "  godwit send --qmp /run/vm1.qmp --to ssh://root@host-b/run/vm1.qmp --progress json --report moved.json\n"
    "With ssh:// also what is said to `receive`: --any-vm, --any-disks, --start-timeout TIME.\n";

// A switch that starts again takes so long, and so does spanning tree until it lets a port through.
constexpr Duration kDefaultLinkPatience = std::chrono::seconds(30);

struct SendTexts : SharedTexts {
  Text to, rsh, remote_godwit, via, start_timeout, lanes, encoding_threads, codec, delta_memory, max_downtime,
      bandwidth, timeout, link_patience, deadline, on_deadline, guest_slowdown, free_pages, devices, progress, kernels,
      control;
  bool allow_nested = false, ssh_data = false, any_vm = false, any_disks = false, resume = false;
};

CLI::App* add_send(CLI::App& app, SendTexts& texts, unsigned cpus) {
  CLI::App* send = app.add_subcommand("send", "Move a running VM to a waiting `godwit receive`");
  add(*send, "--qmp", texts.qmp, "PATH", "QEMU's monitor: a Unix socket (required)");
  add(*send, "--to", texts.to, "ADDRESS",
      "tcp://host:port, unix:///path or ssh://[user@]host[:port]/qmp-path (required)");
  add(*send, "--rsh", texts.rsh, "COMMAND", "with ssh://: starts `receive` there, e.g. 'ssh -i KEY' [ssh]");
  add(*send, "--remote-godwit", texts.remote_godwit, "COMMAND", "with ssh://: what starts godwit there [godwit]");
  add(*send, "--via", texts.via, "HOST[:PORT]",
      "with ssh://: the destination's address on the network for the move [that of ssh]");
  send->add_flag("--ssh-data", texts.ssh_data,
                 "with ssh://: memory goes through ssh, too, where only its port is open; slower");
  add(*send, "--max-downtime", texts.max_downtime, "TIME", "longest pause of the guest to plan for [50ms]");
  add(*send, "--bandwidth", texts.bandwidth, "RATE", "send at most so much, e.g. 2.5Gbit [no limit]");
  add(*send, "--codec", texts.codec, "CODEC", "auto, raw, lz4[:1..64], zstd[:-7..19], deflate[:1..3], qat, iaa [auto]");
  add(*send, "--delta-memory", texts.delta_memory, "SIZE",
      "to send only what has changed; 0: whole pages [48MiB + RAM/128, at most 4GiB]");
  add(*send, "--free-pages", texts.free_pages, "skip|send", "memory that a Linux guest has free [skip]");
  add(*send, "--devices", texts.devices, "auto|direct|stream",
      "how device state leaves QEMU [auto: directly if it can]");
  add(*send, "--lanes", texts.lanes, "N",
      fmt::format("connections, 1 to {} [{}], or more where that helps; with --ssh-data 1 to {} [{}]", wire::kMaxLanes,
                  default_lanes(cpus), kMostSshDataLanes, std::min(kSshDataLanes, default_lanes(cpus))));
  add(*send, "--encoding-threads", texts.encoding_threads, "N",
      "threads that encode beside them at most, while CPUs are idle [CPUs less lanes]");
  add(*send, "--timeout", texts.timeout, "TIME", "give up after this time [1h]");
  add(*send, "--link-patience", texts.link_patience, "TIME",
      "wait so long for a lost link while memory is copied; 0s: do not [30s]");
  add(*send, "--guest-slowdown", texts.guest_slowdown, "PERCENT",
      "so much of its CPU time the guest may be denied, if it writes too fast [0%]");
  add(*send, "--deadline", texts.deadline, "TIME", "when the move is to have come to its end [none]");
  add(*send, "--on-deadline", texts.on_deadline, "cancel|pause|postcopy",
      "then; postcopy: as soon as waiting is of no use [cancel]");
  add(*send, "--control", texts.control, "SOCKET", "where `godwit control` steers it while it runs [nowhere]");
  add(*send, "--progress", texts.progress, "MODE", "auto, bar, json (lines on stdout) or none [auto]");
  send->add_flag("--allow-nested", texts.allow_nested,
                 "move a guest that has run VMs of its own: none may run until the move is over");
  send->add_flag("--resume", texts.resume, "go on with a post-copy that broke off, towards `receive --resume`");
  add_tls(*send, texts, "the host of --to");
  add_shared(*send, texts);
  // For the `receive` that it starts, whose help has them.
  send->add_flag("--any-vm", texts.any_vm)->group("");
  send->add_flag("--any-disks", texts.any_disks)->group("");
  send->add_option("--start-timeout", texts.start_timeout)->type_name("TIME")->check(is_value, "")->group("");
  // For tests and measurements: not shown.
  send->add_option("--kernels", texts.kernels)->type_name("NAME")->group("");
  send->footer(std::string(kSendExamples) + "\n" + std::string(kExitCodeHelp));
  return send;
}

Result<SshOptions> read_ssh(const SendTexts& texts) {
  if (texts.tls_dir || texts.tls_psk || texts.tls_hostname || texts.insecure_plain) {
    return fail(ErrorKind::kInvalidArgument,
                "--to: with ssh:// both sides are given a new key by ssh; leave out --tls-dir, --tls-psk, "
                "--tls-hostname and --insecure-plain");
  }
  SshOptions ssh;
  ssh.target = TRY_IN("--to", parse_ssh_target(*texts.to));
  if (texts.rsh) ssh.shell = TRY_IN("--rsh", words_of(*texts.rsh));
  if (texts.remote_godwit) ssh.remote_godwit = TRY_IN("--remote-godwit", words_of(*texts.remote_godwit));
  if (texts.via) ssh.via = TRY_IN("--via", parse_data_address(*texts.via));
  if (texts.via && texts.ssh_data) {
    return fail(ErrorKind::kInvalidArgument,
                "--ssh-data: memory goes through ssh, with --via past it by another network; give one of them");
  }
  ssh.data = texts.ssh_data;
  ssh.resume = texts.resume;
  ssh.lenience = {.any_vm = texts.any_vm, .any_disks = texts.any_disks};
  if (texts.start_timeout) {
    ssh.start_timeout = TRY(duration_value("--start-timeout", *texts.start_timeout, 1s, 1h));
  }
  return ssh;
}

Status read_destination(const SendTexts& texts, SendOptions& options) {
  if (names_ssh(*texts.to)) {
    options.ssh = TRY(read_ssh(texts));
    return {};
  }
  if (texts.rsh || texts.remote_godwit || texts.via || texts.ssh_data) {
    return fail(ErrorKind::kInvalidArgument,
                "--rsh, --remote-godwit, --via and --ssh-data: are for --to ssh://host-b/run/vm1.qmp; leave them out");
  }
  if (texts.any_vm || texts.any_disks || texts.start_timeout) {
    return fail(ErrorKind::kInvalidArgument,
                "--any-vm, --any-disks and --start-timeout: are for --to ssh://host-b/run/vm1.qmp; give them to the "
                "`godwit receive` that you have started");
  }
  options.to = TRY_IN("--to", parse_address(*texts.to));
  if (names_a_peer(options.to)) return {};
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("--to: '{}' names no host and port to connect to; write tcp://host-b:4444", *texts.to));
}

Status read_deadline(const SendTexts& texts, Goals& goals) {
  if (texts.deadline) goals.deadline = TRY(duration_value("--deadline", *texts.deadline, 0s, 168h));
  if (texts.guest_slowdown) goals.guest_slowdown = TRY(percent_value("--guest-slowdown", *texts.guest_slowdown, 99));
  if (texts.on_deadline) goals.on_deadline = TRY(on_deadline_value("--on-deadline", *texts.on_deadline));
  if (texts.ssh_data && goals.may_postcopy()) {
    return fail(ErrorKind::kInvalidArgument,
                "--ssh-data: has no connection past the others for pages that the guest waits for; leave out "
                "--on-deadline postcopy");
  }
  if (texts.ssh_data && texts.resume) {
    return fail(ErrorKind::kInvalidArgument,
                "--ssh-data: has no connection past the others for pages that the guest waits for; leave out --resume");
  }
  if (texts.on_deadline && !texts.deadline && !goals.may_postcopy()) {
    return fail(ErrorKind::kInvalidArgument, "--on-deadline: say when, with --deadline 60s");
  }
  if (goals.deadline && *goals.deadline > goals.timeout) {
    return fail(ErrorKind::kInvalidArgument, "--deadline: is after --timeout, which gives the move up before");
  }
  // One connection is for what the guest waits for.
  if (goals.may_postcopy()) goals.lanes = std::min(goals.lanes, static_cast<unsigned>(wire::kMaxLanes) - 1);
  return {};
}

/// Of what cannot be opened a second time no outage is waited for.
Status read_link_patience(const SendTexts& texts, SendOptions& options) {
  const bool once = texts.ssh_data || (!options.ssh && options.to.kind == Address::Kind::kUnix) || texts.resume;
  if (!once) options.goals.link_patience = kDefaultLinkPatience;
  if (!texts.link_patience) return {};
  // By ssh the far side hears nothing meanwhile, and gives up after that time.
  const Duration longest = options.ssh ? kNearSideSilence : Duration(10min);
  options.goals.link_patience = TRY(duration_value("--link-patience", *texts.link_patience, 0s, longest));
  if (!once || options.goals.link_patience == Duration::zero()) return {};
  return fail(ErrorKind::kInvalidArgument,
              "--link-patience: is for tcp:// and for ssh:// without --ssh-data, where lost connections can be opened "
              "again, and not for --resume");
}

// Twice the most that are begun with. Each is a thread and some MiB.
constexpr unsigned kMostLanesByItself = 16;

/// Lanes that nobody has asked for may become more; those that were asked for are the bound.
unsigned most_lanes(const SendTexts& texts) {
  return texts.lanes || texts.ssh_data ? 0 : kMostLanesByItself;
}

Result<unsigned> read_lanes(const SendTexts& texts, unsigned cpus) {
  const unsigned few = texts.ssh_data ? kSshDataLanes : wire::kMaxLanes;
  if (!texts.lanes) return std::min(few, default_lanes(cpus));
  const unsigned lanes = TRY(lanes_value("--lanes", *texts.lanes));
  if (!texts.ssh_data || lanes <= kMostSshDataLanes) return lanes;
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("--lanes: with --ssh-data at most {}: sshd lets ten sessions through one login (MaxSessions)",
                          kMostSshDataLanes));
}

/// Whoever steers may order post-copy, too, for which one connection is kept; through ssh there is none.
Status read_control_socket(const SendTexts& texts, SendOptions& options) {
  if (!texts.control) return {};
  if (texts.resume) {
    return fail(ErrorKind::kInvalidArgument,
                "--control: a move that is gone on with (--resume) has nothing to be steered");
  }
  options.control = TRY(socket_path_value("--control", *texts.control));
  options.goals.may_be_ordered = !texts.ssh_data;
  if (!texts.ssh_data) options.goals.lanes = std::min(options.goals.lanes, static_cast<unsigned>(wire::kMaxLanes) - 1);
  return {};
}

Result<Command> read_send(const SendTexts& texts, unsigned cpus) {
  if (!texts.qmp) return missing("send", "--qmp", "/run/vm1.qmp");
  if (!texts.to) return missing("send", "--to", "tcp://host-b:4444");
  SendOptions options;
  TRY(read_shared(texts, options));
  TRY(read_destination(texts, options));
  Goals& goals = options.goals;
  goals.lanes = TRY(read_lanes(texts, cpus));
  goals.most_lanes = most_lanes(texts);
  if (texts.encoding_threads) {
    goals.encoding_threads = TRY(encoding_threads_value("--encoding-threads", *texts.encoding_threads));
  }
  if (texts.codec && *texts.codec != kAutoCodec) goals.codec = TRY_IN("--codec", parse_codec(*texts.codec));
  if (texts.delta_memory) goals.delta_memory = TRY_IN("--delta-memory", parse_size(*texts.delta_memory));
  // Under 1 ms no switchover fits; over 10 minutes stopping the VM first is what is wanted.
  if (texts.max_downtime) {
    goals.max_downtime = TRY(duration_value("--max-downtime", *texts.max_downtime, 1ms, 10min));
  }
  if (texts.timeout) goals.timeout = TRY(duration_value("--timeout", *texts.timeout, 1s, 168h));
  TRY(read_link_patience(texts, options));
  TRY(read_deadline(texts, goals));
  if (texts.bandwidth) goals.bandwidth = TRY(bandwidth_value("--bandwidth", *texts.bandwidth));
  if (texts.free_pages) options.skip_free_pages = TRY(free_pages_value("--free-pages", *texts.free_pages));
  if (texts.devices) options.devices = TRY(devices_value("--devices", *texts.devices));
  options.allow_nested = texts.allow_nested;
  options.resume = texts.resume;
  TRY(read_control_socket(texts, options));
  if (texts.progress) options.progress = TRY(progress_value("--progress", *texts.progress));
  if (texts.kernels) options.kernels = *texts.kernels;
  return options;
}

}  // namespace

CommandParser send_parser(CLI::App& app, unsigned cpus) {
  const auto texts = std::make_shared<SendTexts>();
  return {.command = add_send(app, *texts, cpus), .read = [=] { return read_send(*texts, cpus); }};
}

}  // namespace godwit
