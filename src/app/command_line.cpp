// CLI11 splits the words and prints the help; every value is checked in option_values.cpp, so that all messages read
// alike. CLI11's exceptions end here.
#include "app/command_line.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "app/exit_code.h"
#include "app/option_values.h"
#include "app/version.h"
#include "remote/near_side.h"
#include "wire/limits.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

constexpr const char* kDescription =
    "godwit moves a running QEMU virtual machine to another host.\n"
    "`receive` waits on the destination, beside a QEMU started with -S -incoming defer;\n"
    "`send` moves the VM there; `probe` says what a host and a VM can do;\n"
    "`forecast` says beforehand how a move would go;\n"
    "`control` steers a `send` that is under way;\n"
    "`keygen` makes what two hosts need to know each other.";

constexpr const char* kExamples =
    "Example:\n"
    "  host-b$ godwit receive --qmp /run/vm1.qmp --listen tcp://0.0.0.0:4444\n"
    "  host-a$ godwit send --qmp /run/vm1.qmp --to tcp://host-b:4444 --max-downtime 30ms\n";

constexpr const char* kSendExamples =
    "Examples:\n"
    "  godwit send --qmp /run/vm1.qmp --to tcp://[fd00::2]:4444 --bandwidth 2.5Gbit --codec lz4\n"
    "  godwit send --qmp /run/vm1.qmp --to ssh://root@host-b/run/vm1.qmp --progress json --report moved.json\n"
    "With ssh:// also what is said to `receive`: --any-vm, --any-disks, --start-timeout TIME.\n";

constexpr const char* kReceiveExamples =
    "Example:\n"
    "  qemu-system-x86_64 ... -S -incoming defer -qmp unix:/run/vm1.qmp,server=on,wait=off\n"
    "  godwit receive --qmp /run/vm1.qmp --listen tcp://0.0.0.0:4444\n";

constexpr const char* kProbeExamples =
    "Examples:\n"
    "  godwit probe\n"
    "  godwit probe --qmp /run/vm1.qmp --json\n"
    "\n"
    "With --qmp the exit code is 0 if the VM can be moved and 1 if it cannot.\n";

constexpr const char* kForecastExamples =
    "Examples:\n"
    "  godwit forecast --qmp /run/vm1.qmp --to tcp://host-b:4444\n"
    "  godwit forecast --qmp /run/vm1.qmp --bandwidth 1Gbit --max-downtime 300ms --json\n"
    "\n"
    "Watches the VM for some seconds; nothing is moved or paused. The exit code is 0 if a move would converge\n"
    "and 8 if it would not.\n";

constexpr const char* kControlExamples =
    "Commands:\n"
    "  status                     how far it is, and by which goals\n"
    "  set GOAL VALUE             max-downtime 100ms, bandwidth 2.5Gbit|none, timeout 2h, deadline 10min|none,\n"
    "                             on-deadline cancel|pause|postcopy, guest-slowdown 30%\n"
    "  cancel                     the guest stays at the source\n"
    "  switch-over-now            the guest is paused until the rest has been sent, however long that takes\n"
    "  postcopy-now               the guest runs at the destination, and the rest follows\n"
    "\n"
    "Examples:\n"
    "  godwit send ... --control /run/vm1.control\n"
    "  godwit control /run/vm1.control set max-downtime 200ms\n"
    "\n"
    "What makes no sense, or no sense any more, is refused in a sentence (exit code 1), and the move goes on.\n";

constexpr const char* kKeygenExamples =
    "Examples:\n"
    "  godwit keygen --dir /root/godwit-ca --host host-a,10.0.0.1 --host host-b,10.0.0.2\n"
    "  godwit keygen --dir /root/godwit-ca --revoke host-a\n"
    "  godwit keygen --psk /etc/godwit/key.psk\n"
    "\n"
    "DIR/HOST then has the files of HOST by the names that QEMU has in /etc/pki/qemu. No file is overwritten\n"
    "except DIR/ca-crl.pem; a CA that is in DIR already is used again.\n";

constexpr std::string_view kAutoCodec = "auto";
// A switch that starts again takes so long, and so does spanning tree until it lets a port through.
constexpr Duration kDefaultLinkPatience = std::chrono::seconds(30);
constexpr std::string_view kValueMissing = "missing value";

/// An option's text as it was written, or nothing if it was not.
using Text = std::optional<std::string>;

struct LogTexts {
  Text log_file, log_level;
};

struct SharedTexts : LogTexts {
  Text qmp, pid, report, tls_dir, tls_psk, tls_hostname;
  bool insecure_plain = false;
};

struct SendTexts : SharedTexts {
  Text to, rsh, remote_godwit, via, start_timeout, lanes, encoding_threads, codec, delta_memory, max_downtime,
      bandwidth, timeout, link_patience, deadline, on_deadline, guest_slowdown, free_pages, devices, progress, kernels,
      control;
  bool allow_nested = false, ssh_data = false, any_vm = false, any_disks = false, resume = false;
};

struct ReceiveTexts : SharedTexts {
  Text listen, timeout, start_timeout, decoder, qmp_dir, at_once;
  bool over_ssh = false, ssh_data = false, any_vm = false, any_disks = false, keep = false, resume = false;
};

struct ProbeTexts : LogTexts {
  Text qmp, pid;
  bool json = false;
};

struct ControlTexts {
  Text socket;
  std::vector<std::string> words;
  bool json = false;
};

struct RelayTexts {
  Text socket;
};

struct ForecastTexts : SharedTexts {
  Text to, bandwidth, seconds, lanes, encoding_threads, codec, max_downtime, timeout, free_pages, devices;
  bool allow_nested = false, json = false;
};

struct KeygenTexts {
  Text psk, dir, days, revoke;
  std::vector<std::string> hosts;
};

std::string is_value(const std::string& word) {
  // CLI11 takes the next word whatever it looks like, also when it is the next option.
  return word.starts_with("--") ? std::string(kValueMissing) : std::string();
}

void add(CLI::App& app, const char* name, Text& text, const char* type, const std::string& help) {
  app.add_option(name, text, help)->type_name(type)->check(is_value, "");
}

void add_log(CLI::App& app, LogTexts& texts) {
  add(app, "--log-file", texts.log_file, "FILE", "append a log there [none; systemd's journal for its services]");
  add(app, "--log-level", texts.log_level, "LEVEL", "error, warning, info or debug [info]");
}

void add_tls(CLI::App& app, SharedTexts& texts, const char* default_name) {
  add(app, "--tls-dir", texts.tls_dir, "DIR",
      "certificates, named as QEMU's [/etc/pki/godwit, /etc/pki/qemu, libvirt's]");
  add(app, "--tls-psk", texts.tls_psk, "FILE", "instead: a key that both sides have, from `godwit keygen`");
  add(app, "--tls-hostname", texts.tls_hostname, "NAME",
      fmt::format("what the other side's certificate must be for [{}]", default_name));
  app.add_flag("--insecure-plain", texts.insecure_plain,
               "no TLS: whoever can reach the network reads the guest's memory");
}

void add_shared(CLI::App& app, SharedTexts& texts) {
  add(app, "--report", texts.report, "FILE", "write the report there as JSON");
  add_log(app, texts);
  add(app, "--pid", texts.pid, "PID", "QEMU's process [the one behind its monitor]");
}

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
      fmt::format("connections, each with a thread, 1 to {} [{}]; with --ssh-data 1 to {} [{}]", wire::kMaxLanes,
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

CLI::App* add_receive(CLI::App& app, ReceiveTexts& texts) {
  CLI::App* receive = app.add_subcommand("receive", "Take in a VM from `godwit send`");
  add(*receive, "--qmp", texts.qmp, "PATH", "monitor of a QEMU started with -S -incoming defer (this or --qmp-dir)");
  add(*receive, "--qmp-dir", texts.qmp_dir, "DIR",
      "many monitors: NAME or NAME.qmp is the VM's called NAME; goes on like --keep");
  add(*receive, "--listen", texts.listen, "ADDRESS", "tcp://host:port or unix:///path (required)");
  add(*receive, "--timeout", texts.timeout, "TIME", "give up if no source has come by then [1h]");
  add(*receive, "--start-timeout", texts.start_timeout, "TIME",
      "a VM that QEMU cannot start (its disk is locked) goes back after this time [60s]");
  add(*receive, "--decoder", texts.decoder, "cpu|qat|iaa", "what decodes deflate [cpu]");
  receive->add_flag("--keep", texts.keep, "go on after a VM has come in, or a try has failed; SIGTERM ends it");
  add(*receive, "--at-once", texts.at_once, "N",
      fmt::format("with --keep: VMs side by side, 1 to {} [4]", kMostVmsAtOnce));
  receive->add_flag("--over-ssh", texts.over_ssh,
                    "how `godwit send --to ssh://...` starts it: the key comes by standard input");
  receive->add_flag("--ssh-data", texts.ssh_data, "with --over-ssh: memory comes by ssh, too");
  receive->add_flag("--any-vm", texts.any_vm, "take a VM with another name or UUID than the QEMU here has");
  receive->add_flag("--any-disks", texts.any_disks, "take it although disks are not the same disks: warn only");
  receive->add_flag("--resume", texts.resume,
                    "go on with a post-copy that broke off: the QEMU here has the VM already");
  add_tls(*receive, texts, "any that the CA has signed");
  add_shared(*receive, texts);
  receive->footer(std::string(kReceiveExamples) + "\n" + std::string(kExitCodeHelp));
  return receive;
}

CLI::App* add_probe(CLI::App& app, ProbeTexts& texts) {
  CLI::App* probe = app.add_subcommand("probe", "Say what this host can do, and whether a VM on it can be moved");
  add(*probe, "--qmp", texts.qmp, "PATH", "also look at the VM behind this monitor");
  add(*probe, "--pid", texts.pid, "PID", "QEMU's process [the one behind its monitor]");
  probe->add_flag("--json", texts.json, "print JSON");
  add_log(*probe, texts);
  probe->footer(std::string(kProbeExamples) + "\n" + std::string(kExitCodeHelp));
  return probe;
}

CLI::App* add_control(CLI::App& app, ControlTexts& texts) {
  CLI::App* control = app.add_subcommand("control", "Steer a `godwit send --control SOCKET` that is under way");
  control->add_option("SOCKET", texts.socket, "of that `send` (required)");
  control->add_option("COMMAND", texts.words, "what is wanted, as below (required)")->type_name("");
  control->add_flag("--json", texts.json, "print the whole answer as JSON");
  control->footer(kControlExamples);
  return control;
}

/// For `send --ssh-data`, which starts it: not shown.
CLI::App* add_relay(CLI::App& app, RelayTexts& texts) {
  CLI::App* relay = app.add_subcommand("relay", "Pass standard input and output on to a socket")->group("");
  add(*relay, "--socket", texts.socket, "PATH", "where `receive` listens (required)");
  return relay;
}

CLI::App* add_forecast(CLI::App& app, ForecastTexts& texts, unsigned cpus) {
  CLI::App* forecast = app.add_subcommand("forecast", "Watch a VM for some seconds and say how a move would go");
  add(*forecast, "--qmp", texts.qmp, "PATH", "QEMU's monitor: a Unix socket (required)");
  add(*forecast, "--to", texts.to, "ADDRESS", "measure the link to a `godwit receive` that waits there");
  add(*forecast, "--bandwidth", texts.bandwidth, "RATE", "instead: what the link takes, e.g. 10Gbit");
  add(*forecast, "--seconds", texts.seconds, "N", "how long to watch, 1 to 600 [5]");
  add(*forecast, "--max-downtime", texts.max_downtime, "TIME", "longest pause of the guest to plan for [50ms]");
  add(*forecast, "--timeout", texts.timeout, "TIME", "when a move would give up [1h]");
  add(*forecast, "--codec", texts.codec, "CODEC", "as for send [auto]");
  add(*forecast, "--free-pages", texts.free_pages, "skip|send", "as for send [skip]");
  add(*forecast, "--devices", texts.devices, "auto|direct|stream", "as for send [auto]");
  add(*forecast, "--lanes", texts.lanes, "N", fmt::format("as for send [{}]", default_lanes(cpus)));
  add(*forecast, "--encoding-threads", texts.encoding_threads, "N", "as for send [CPUs less lanes]");
  add(*forecast, "--pid", texts.pid, "PID", "QEMU's process [the one behind its monitor]");
  forecast->add_flag("--allow-nested", texts.allow_nested, "as for send");
  add_tls(*forecast, texts, "the host of --to");
  forecast->add_flag("--json", texts.json, "print JSON");
  add_log(*forecast, texts);
  forecast->footer(kForecastExamples);
  return forecast;
}

CLI::App* add_keygen(CLI::App& app, KeygenTexts& texts) {
  CLI::App* keygen = app.add_subcommand("keygen", "Make certificates, or a shared key, for moves between your hosts");
  add(*keygen, "--dir", texts.dir, "DIR", "folder of a CA and of its hosts' files; both are made if missing");
  keygen->add_option("--host", texts.hosts, "make certificates for a host with these names and addresses; repeatable")
      ->type_name("NAME[,NAME...]")
      ->check(is_value, "")
      ->allow_extra_args(false);
  add(*keygen, "--days", texts.days, "N", "how long they are valid, 1 to 3650 [730]; the CA is for 10 years");
  add(*keygen, "--revoke", texts.revoke, "HOST", "add the certificates in DIR/HOST to DIR/ca-crl.pem");
  add(*keygen, "--psk", texts.psk, "FILE", "make a key there that both sides share, in place of certificates");
  keygen->footer(std::string(kKeygenExamples) + "\n" + std::string(kExitCodeHelp));
  return keygen;
}

tl::unexpected<Error> missing(std::string_view command, std::string_view options, std::string_view option,
                              std::string_view example) {
  return fail(ErrorKind::kInvalidArgument, fmt::format("{} needs {}, e.g. {} {}", command, options, option, example));
}

tl::unexpected<Error> missing(std::string_view command, std::string_view option, std::string_view example) {
  return missing(command, option, option, example);
}

Status read_log(const LogTexts& texts, LogOptions& log) {
  if (texts.log_file) log.file = TRY(file_value("--log-file", *texts.log_file));
  if (texts.log_level) log.level = TRY(log_level_value("--log-level", *texts.log_level));
  return {};
}

Status read_tls(const SharedTexts& texts, TlsOptions& tls) {
  if (texts.tls_dir) tls.folder = TRY(file_value("--tls-dir", *texts.tls_dir));
  if (texts.tls_psk) tls.key_file = TRY(file_value("--tls-psk", *texts.tls_psk));
  if (texts.tls_hostname) tls.hostname = TRY(host_value("--tls-hostname", *texts.tls_hostname));
  tls.insecure_plain = texts.insecure_plain;
  const int ways = (texts.tls_dir ? 1 : 0) + (texts.tls_psk ? 1 : 0) + (texts.insecure_plain ? 1 : 0);
  if (ways > 1) {
    return fail(ErrorKind::kInvalidArgument,
                "--tls-dir, --tls-psk and --insecure-plain: give one of them; both sides must use the same way");
  }
  if (texts.tls_hostname && (texts.tls_psk || texts.insecure_plain)) {
    return fail(ErrorKind::kInvalidArgument, "--tls-hostname: is for certificates; leave it out, or give --tls-dir");
  }
  return {};
}

/// Fills what send and receive have in common.
template <typename Options>
Status read_shared(const SharedTexts& texts, Options& options) {
  if (texts.qmp) options.qmp = TRY(socket_path_value("--qmp", *texts.qmp));
  if (texts.pid) options.pid = TRY(pid_value("--pid", *texts.pid));
  if (texts.report) options.report_file = TRY(file_value("--report", *texts.report));
  TRY(read_tls(texts, options.tls));
  return read_log(texts, options.log);
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

/// How many VMs are taken in, and by whom.
Status read_many(const ReceiveTexts& texts, ReceiveOptions& options) {
  options.keep = texts.keep || texts.qmp_dir.has_value();
  if (options.keep && texts.over_ssh) {
    return fail(ErrorKind::kInvalidArgument, "--over-ssh: takes in one VM; leave out --keep and --qmp-dir");
  }
  if (options.keep && texts.resume) {
    return fail(ErrorKind::kInvalidArgument, "--resume: goes on with one VM; leave out --keep and --qmp-dir");
  }
  if (texts.qmp_dir) options.qmp_dir = TRY(file_value("--qmp-dir", *texts.qmp_dir));
  if (texts.at_once) options.at_once = TRY(at_once_value("--at-once", *texts.at_once));
  if (texts.qmp && texts.qmp_dir) {
    return fail(ErrorKind::kInvalidArgument, "--qmp-dir: is for many QEMUs, --qmp for one; give one of them");
  }
  if (!options.keep && texts.at_once) {
    return fail(ErrorKind::kInvalidArgument,
                "--at-once: says how many VMs come in side by side with --keep; give both");
  }
  if (options.keep && texts.timeout) {
    return fail(ErrorKind::kInvalidArgument, "--timeout: with --keep nobody gives up waiting; leave it out");
  }
  if (texts.qmp_dir && (texts.pid || texts.any_vm)) {
    return fail(ErrorKind::kInvalidArgument, "--qmp-dir: finds QEMUs by the VMs' names; leave --pid and --any-vm out");
  }
  return {};
}

Result<Command> read_receive(const ReceiveTexts& texts) {
  if (!texts.qmp && !texts.qmp_dir) return missing("receive", "--qmp", "/run/vm1.qmp");
  if (!texts.listen && !texts.over_ssh) return missing("receive", "--listen", "tcp://0.0.0.0:4444");
  ReceiveOptions options;
  TRY(read_shared(texts, options));
  options.over_ssh = texts.over_ssh;
  options.ssh_data = texts.ssh_data;
  if (texts.ssh_data && (!texts.over_ssh || texts.listen)) {
    return fail(ErrorKind::kInvalidArgument,
                "--ssh-data: is for --over-ssh, and nobody listens on a port then; leave it out, or leave out --listen "
                "and add --over-ssh");
  }
  if (texts.listen) options.listen = TRY_IN("--listen", parse_address(*texts.listen));
  if (texts.over_ssh && (texts.tls_dir || texts.tls_psk || texts.tls_hostname || texts.insecure_plain)) {
    return fail(ErrorKind::kInvalidArgument,
                "--over-ssh: the key comes by standard input; leave out --tls-dir, --tls-psk, --tls-hostname and "
                "--insecure-plain");
  }
  if (texts.timeout) options.timeout = TRY(duration_value("--timeout", *texts.timeout, 1s, 168h));
  if (texts.start_timeout) {
    options.start_timeout = TRY(duration_value("--start-timeout", *texts.start_timeout, 1s, 1h));
  }
  if (texts.decoder) options.decoder = TRY(decoder_value("--decoder", *texts.decoder));
  options.resume = texts.resume;
  TRY(read_many(texts, options));
  options.lenience = {.any_vm = texts.any_vm, .any_disks = texts.any_disks};
  return options;
}

Result<Command> read_relay(const RelayTexts& texts) {
  if (!texts.socket) return missing("relay", "--socket", "/run/godwit/ssh-1/socket");
  return RelayOptions{.socket = TRY(socket_path_value("--socket", *texts.socket))};
}

Result<Command> read_control(const ControlTexts& texts) {
  if (!texts.socket) return missing("control", "the socket of a `godwit send --control SOCKET`", "/run/vm1.control");
  if (texts.words.empty()) return missing("control", "a command", "status");
  ControlOptions options;
  options.socket = TRY(socket_path_value("control", *texts.socket));
  options.request = TRY(control_request_of(texts.words));
  options.json = texts.json;
  return options;
}

Result<Command> read_probe(const ProbeTexts& texts) {
  ProbeOptions options;
  options.json = texts.json;
  if (texts.qmp) options.qmp = TRY(socket_path_value("--qmp", *texts.qmp));
  if (texts.pid) options.pid = TRY(pid_value("--pid", *texts.pid));
  if (texts.pid && !texts.qmp) {
    return fail(ErrorKind::kInvalidArgument, "--pid: says which QEMU is behind --qmp; give both, or neither");
  }
  TRY(read_log(texts, options.log));
  return options;
}

Result<Command> read_forecast(const ForecastTexts& texts, unsigned cpus) {
  if (!texts.qmp) return missing("forecast", "--qmp", "/run/vm1.qmp");
  if (!texts.bandwidth && !texts.to) return missing("forecast", "--to", "tcp://host-b:4444");
  if (texts.bandwidth && texts.to) {
    return fail(ErrorKind::kInvalidArgument, "--to measures the link, and --bandwidth says what it takes: give one");
  }
  ForecastOptions options;
  if (texts.to) options.to = TRY_IN("--to", parse_address(*texts.to));
  TRY(read_tls(texts, options.tls));
  options.qmp = TRY(socket_path_value("--qmp", *texts.qmp));
  if (texts.pid) options.pid = TRY(pid_value("--pid", *texts.pid));
  Goals& goals = options.goals;
  if (texts.bandwidth) goals.bandwidth = TRY(bandwidth_value("--bandwidth", *texts.bandwidth));
  if (texts.seconds) options.length = TRY(duration_value("--seconds", *texts.seconds + "s", 1s, 600s));
  goals.lanes = texts.lanes ? TRY(lanes_value("--lanes", *texts.lanes)) : default_lanes(cpus);
  if (texts.encoding_threads) {
    goals.encoding_threads = TRY(encoding_threads_value("--encoding-threads", *texts.encoding_threads));
  }
  if (texts.codec && *texts.codec != kAutoCodec) goals.codec = TRY_IN("--codec", parse_codec(*texts.codec));
  if (texts.max_downtime) {
    goals.max_downtime = TRY(duration_value("--max-downtime", *texts.max_downtime, 1ms, 10min));
  }
  if (texts.timeout) goals.timeout = TRY(duration_value("--timeout", *texts.timeout, 1s, 168h));
  if (texts.free_pages) options.skip_free_pages = TRY(free_pages_value("--free-pages", *texts.free_pages));
  if (texts.devices) options.devices = TRY(devices_value("--devices", *texts.devices));
  options.allow_nested = texts.allow_nested;
  options.json = texts.json;
  TRY(read_log(texts, options.log));
  return options;
}

Result<Command> read_keygen_psk(const KeygenTexts& texts) {
  if (texts.dir || texts.days || texts.revoke || !texts.hosts.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                "--psk: makes a key in place of certificates; give it without --dir, --host, --days and --revoke");
  }
  KeygenOptions options;
  options.psk_file = TRY(file_value("--psk", *texts.psk));
  return options;
}

Result<Command> read_keygen_revoke(const KeygenTexts& texts) {
  if (texts.days || !texts.hosts.empty()) {
    return fail(ErrorKind::kInvalidArgument, "--revoke: makes no certificates; give it without --host and --days");
  }
  KeygenOptions options;
  options.folder = TRY(file_value("--dir", *texts.dir));
  options.revoked_host = TRY(host_value("--revoke", *texts.revoke));
  return options;
}

Result<Command> read_keygen(const KeygenTexts& texts) {
  if (texts.psk) return read_keygen_psk(texts);
  if (!texts.dir) {
    const bool for_hosts = texts.revoke || texts.days || !texts.hosts.empty();
    return missing("keygen", for_hosts ? "--dir" : "--dir or --psk", "--dir", "/root/godwit-ca");
  }
  if (texts.revoke) return read_keygen_revoke(texts);
  if (texts.hosts.empty()) return missing("keygen --dir", "--host or --revoke", "--host", "host-a");
  KeygenOptions options;
  options.folder = TRY(file_value("--dir", *texts.dir));
  for (const std::string& text : texts.hosts) {
    auto names = TRY(host_names_value("--host", text));
    const auto is_same = [&](const auto& other) { return other.front() == names.front(); };
    if (std::any_of(options.hosts.begin(), options.hosts.end(), is_same)) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("--host: '{}' given more than once", names.front()));
    }
    options.hosts.push_back(std::move(names));
  }
  if (texts.days) options.days = TRY(days_value("--days", *texts.days));
  return options;
}

/// How many letters must change to make one word of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

/// "godwit send: unknown option '--qpm'; did you mean --qmp?"
std::string unknown_word(const CLI::App& app, std::string word) {
  word.resize(std::min({word.size(), word.find('='), std::size_t{40}}));
  const auto used = app.get_subcommands();
  const std::string where = used.empty() ? "godwit" : "godwit " + used.front()->get_name();
  std::string best;
  // Two letters wrong (or swapped) are a typing slip; more are another word.
  std::size_t least = 3;
  const auto consider = [&](const std::string& candidate) {
    if (const auto letters = distance(word, candidate); letters < least) {
      least = letters;
      best = candidate;
    }
  };
  if (used.empty()) {
    for (const CLI::App* command : app.get_subcommands({})) consider(command->get_name());
  } else {
    for (const CLI::Option* option : used.front()->get_options()) {
      if (!option->get_lnames().empty()) consider("--" + option->get_lnames().front());
    }
  }
  const std::string_view kind = word.starts_with('-') ? "option" : used.empty() ? "command" : "argument";
  const std::string hint = best.empty() ? fmt::format("see {} --help", where) : fmt::format("did you mean {}?", best);
  return fmt::format("{}: unknown {} '{}'; {}", where, kind, word, hint);
}

/// CLI11's complaint in our words.
std::string explain(const CLI::App& app, const CLI::ParseError& error) {
  const auto extras = app.remaining(true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extras.empty()) {
    return unknown_word(app, extras.front());
  }
  const std::string text = error.what();
  const std::string option = text.substr(0, text.find(':'));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && option.starts_with("--")) {
    const bool many = text.find("received") != std::string::npos;
    return fmt::format("{}: {}", option, many ? "given more than once" : kValueMissing);
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace

Result<Command> parse_command_line(int count, const char* const* arguments, unsigned cpus) {
  CLI::App app(kDescription, "godwit");
  app.set_version_flag("--version", std::string(kProgram));
  app.footer(std::string(kExamples) + "\n" + std::string(kExitCodeHelp) +
             "\n\nMore: godwit send --help, godwit receive --help, godwit probe --help, godwit forecast --help,\n"
             "godwit control --help, godwit keygen --help");
  app.require_subcommand(0, 1);
  SendTexts send_texts;
  ReceiveTexts receive_texts;
  ProbeTexts probe_texts;
  ForecastTexts forecast_texts;
  KeygenTexts keygen_texts;
  RelayTexts relay_texts;
  ControlTexts control_texts;
  const CLI::App* send = add_send(app, send_texts, cpus);
  const CLI::App* receive = add_receive(app, receive_texts);
  const CLI::App* probe = add_probe(app, probe_texts);
  const CLI::App* forecast = add_forecast(app, forecast_texts, cpus);
  const CLI::App* keygen = add_keygen(app, keygen_texts);
  const CLI::App* relay = add_relay(app, relay_texts);
  const CLI::App* control = add_control(app, control_texts);
  try {
    app.parse(count, arguments);
  } catch (const CLI::CallForHelp&) {
    return ShowText{app.help()};
  } catch (const CLI::CallForVersion&) {
    return ShowText{std::string(kProgram) + "\n"};
  } catch (const CLI::ParseError& error) {
    return fail(ErrorKind::kInvalidArgument, explain(app, error));
  } catch (const std::exception& error) {
    return fail(ErrorKind::kInvalidArgument, error.what());
  }
  if (send->parsed()) return read_send(send_texts, cpus);
  if (receive->parsed()) return read_receive(receive_texts);
  if (probe->parsed()) return read_probe(probe_texts);
  if (forecast->parsed()) return read_forecast(forecast_texts, cpus);
  if (keygen->parsed()) return read_keygen(keygen_texts);
  if (relay->parsed()) return read_relay(relay_texts);
  if (control->parsed()) return read_control(control_texts);
  return fail(ErrorKind::kInvalidArgument,
              "godwit: a command is missing: send, receive, probe, forecast, control or keygen; see godwit --help");
}

}  // namespace godwit
