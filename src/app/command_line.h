// The command line, parsed into a value. Parsing does no I/O and touches no VM.
#pragma once

#include <sys/types.h>

#include <algorithm>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "app/control_request.h"
#include "base/clock.h"
#include "base/result.h"
#include "engine/goals.h"
#include "log/log.h"
#include "net/address.h"
#include "remote/ssh_target.h"
#include "vm/device_way.h"
#include "vm/fit.h"

namespace godwit {

/// How progress is shown while a migration runs.
enum class ProgressMode {
  kAuto,  ///< the bar if stderr is a terminal, else a plain line on stderr every few seconds
  kBar,   ///< one line on stderr that updates
  kJson,  ///< one JSON object per line on stdout
  kNone,
};

struct LogOptions {
  std::string file;  ///< appended to; empty: none, except for systemd's journal where that is stderr
  LogLevel level = LogLevel::kInfo;
};

/// How the other side is trusted; nothing said: by the certificates in the usual folders, on this host in the clear.
struct TlsOptions {
  std::string folder;    ///< of certificates
  std::string key_file;  ///< of a shared key
  std::string hostname;  ///< what the peer's certificate must be for; empty: send: the host of --to, receive: any
  bool insecure_plain = false;
};

/// A destination that is started from here.
struct SshOptions {
  SshTarget target;
  std::vector<std::string> shell{"ssh"};             ///< the remote shell's program, and words for it
  std::vector<std::string> remote_godwit{"godwit"};  ///< what starts Godwit there
  std::optional<Address> via;                        ///< where it listens; none: the address that ssh has come by
  bool data = false;                                 ///< the move's connections go through ssh, too
  Lenience lenience;                                 ///< of `receive` there
  std::optional<Duration> start_timeout;             ///< of `receive` there; none: its own
  bool resume = false;                               ///< of `receive` there
};

struct SendOptions {
  std::string qmp;  ///< path of QEMU's monitor socket
  Address to;       ///< without `ssh`
  std::optional<SshOptions> ssh;
  Goals goals;
  pid_t pid = 0;  ///< of QEMU; 0: the process behind the monitor
  ProgressMode progress = ProgressMode::kAuto;
  std::string report_file;  ///< the report as JSON goes there; empty: nowhere
  bool skip_free_pages = true;
  std::optional<DeviceWay> devices;  ///< none: directly if they can
  bool allow_nested = false;         ///< the operator says that no VM runs inside the guest until the move is over
  bool resume = false;               ///< goes on with a post-copy that broke off
  std::string kernels;               ///< SIMD table by name; empty: the fastest
  std::string control;               ///< socket on which the move can be steered; empty: none
  TlsOptions tls;
  LogOptions log;
};

struct ReceiveOptions {
  std::string qmp;      ///< empty: qmp_dir is given
  std::string qmp_dir;  ///< a folder with the monitors of QEMUs by their VMs' names
  bool keep = false;    ///< goes on after a VM has come in, or a try has failed; always with qmp_dir
  unsigned at_once = 4;
  bool resume = false;    ///< goes on with a post-copy that broke off
  Address listen;         ///< without a host, with `over_ssh`: the address that ssh has come by
  bool over_ssh = false;  ///< started by `godwit send`, with which it talks by standard input and output
  bool ssh_data = false;  ///< with `over_ssh`: the move comes by ssh, too, from `godwit relay`
  pid_t pid = 0;
  std::string report_file;
  Duration timeout = std::chrono::hours(1);  ///< how long to wait for a source
  /// After the commit: how long to go on asking a QEMU that refuses to let the guest run.
  Duration start_timeout = std::chrono::seconds(60);
  CodecDevice decoder = CodecDevice::kCpu;
  Lenience lenience;
  TlsOptions tls;
  LogOptions log;
};

struct ProbeOptions {
  std::string qmp;  ///< empty: this host only
  pid_t pid = 0;
  bool json = false;
  LogOptions log;
};

struct ForecastOptions {
  std::string qmp;            ///< path of QEMU's monitor socket
  Goals goals;                ///< with a bandwidth, what the link takes, or without, if it is to be measured
  std::optional<Address> to;  ///< where a `receive` waits: the link to it is measured
  TlsOptions tls;             ///< of that
  Duration length = std::chrono::seconds(5);
  pid_t pid = 0;
  bool skip_free_pages = true;
  std::optional<DeviceWay> devices;
  bool allow_nested = false;
  bool json = false;
  LogOptions log;
};

/// Either `psk_file` alone, or `folder` with `hosts` or `revoked_host`.
struct KeygenOptions {
  std::string psk_file;                         ///< where a new shared key goes
  std::string folder;                           ///< of the CA
  std::vector<std::vector<std::string>> hosts;  ///< the names of each; they differ in the first, which names its folder
  unsigned days = 730;                          ///< how long hosts' certificates are valid
  std::string revoked_host;                     ///< the first of its names
};

struct ControlOptions {
  std::string socket;      ///< of a `send --control`
  ControlRequest request;  ///< its value has not been looked at
  bool json = false;       ///< print the whole answer
};

/// Started by ssh for each connection of a move with --ssh-data.
struct RelayOptions {
  std::string socket;  ///< where `receive` listens
};

/// More would share the network and the CPUs so that none gets on.
constexpr unsigned kMostVmsAtOnce = 64;

/// --help or --version: print this on stdout and exit with 0.
struct ShowText {
  std::string text;
};

using Command = std::variant<SendOptions, ReceiveOptions, ProbeOptions, ForecastOptions, KeygenOptions, RelayOptions,
                             ControlOptions, ShowText>;

/// Lanes when none are asked for: a lane without a CPU of its own only costs memory; from four on connections gain less
/// and less (design notes), and other CPUs are better left to threads that encode.
constexpr unsigned default_lanes(unsigned cpus) noexcept {
  return std::clamp(cpus, 1U, std::clamp(cpus / 2, 4U, 8U));
}

/// With --ssh-data all go through one login of ssh, which is one connection and one thread that encrypts; sshd lets ten
/// sessions through it (MaxSessions), two of which are the far side's and the control connection's.
constexpr unsigned kSshDataLanes = 2;
constexpr unsigned kMostSshDataLanes = 8;

/// `arguments` as main() gets them; `cpus` that this process may run on. kInvalidArgument: a one-line message that
/// names the option, its text, and what would do.
Result<Command> parse_command_line(int count, const char* const* arguments, unsigned cpus);

}  // namespace godwit
