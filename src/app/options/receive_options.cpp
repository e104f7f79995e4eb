// The options of `godwit receive`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "app/exit_code.h"
#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"

namespace godwit {

namespace {

using namespace std::chrono_literals;

constexpr const char* kReceiveExamples =
    "Example:\n"
    "  qemu-system-x86_64 ... -S -incoming defer -qmp unix:/run/vm1.qmp,server=on,wait=off\n"
    "  godwit receive --qmp /run/vm1.qmp --listen tcp://0.0.0.0:4444\n";

struct ReceiveTexts : SharedTexts {
  Text listen, timeout, start_timeout, decoder, qmp_dir, at_once;
  bool over_ssh = false, ssh_data = false, any_vm = false, any_disks = false, keep = false, resume = false;
};

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

}  // namespace

CommandParser receive_parser(CLI::App& app) {
  const auto texts = std::make_shared<ReceiveTexts>();
  return {.command = add_receive(app, *texts), .read = [=] { return read_receive(*texts); }};
}

}  // namespace godwit
