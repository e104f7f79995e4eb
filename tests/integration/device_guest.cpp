#include "tests/integration/device_guest.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstdlib>
#include <fstream>

namespace godwit::testing {
namespace {

// What the devices of the tests need, and what these need in turn.
constexpr const char* kModules =
    "virtio_pci,virtio_net,virtio_blk,virtio_scsi,sd_mod,virtio_console,virtio_rng,virtio_balloon,virtio_gpu,"
    "virtio_input,evdev,e1000,e1000e,8139cp,ata_piix,ahci,xhci_pci,usb_storage,usbhid,hid_generic,bochs,qxl,psmouse,"
    "efivarfs";

struct GuestFiles {
  std::filesystem::path kernel;
  std::filesystem::path initramfs;
};

Result<GuestFiles> make_guest_files() {
  const char* source = std::getenv("GODWIT_SOURCE");
  if (source == nullptr) return fail(ErrorKind::kNotFound, "GODWIT_SOURCE does not name the source tree");
  const std::filesystem::path root = source;
  const auto fetched = run_program({root / "tools/fetch_guest_kernel", "--full", "--modules", kModules}, seconds(300));
  if (!fetched) return fail(ErrorKind::kNotFound, "no kernel for a guest with devices: " + fetched.error().message);
  std::string folder = fetched->substr(0, fetched->find_last_not_of('\n') + 1);
  folder = folder.substr(folder.rfind('\n') + 1);
  GuestFiles files{std::filesystem::path(folder) / "vmlinuz", root / "build/guest/initramfs-devices"};
  const auto built =
      run_program({root / "tests/guests/linux_devices/build_initramfs", folder, files.initramfs}, seconds(300));
  if (!built) return fail(ErrorKind::kNotFound, "no initramfs for a guest with devices: " + built.error().message);
  return files;
}

std::string replaced(std::string text, const std::string& what, const std::string& by) {
  for (auto at = text.find(what); at != text.npos; at = text.find(what, at + by.size())) {
    text.replace(at, what.size(), by);
  }
  return text;
}

}  // namespace

Result<LineSocket> LineSocket::connect(const std::filesystem::path& path) {
  LineSocket line;
  line.socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.string().copy(address.sun_path, sizeof(address.sun_path) - 1);
  const auto* where = reinterpret_cast<const sockaddr*>(&address);
  if (!wait_until([&] { return ::connect(line.socket_.get(), where, sizeof(address)) == 0; }, seconds(20))) {
    return fail_os("connect to " + path.string());
  }
  return line;
}

Status LineSocket::send(const std::string& line) {
  const std::string text = line + "\n";
  if (::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) {
    return fail_os("send a line");
  }
  return {};
}

Result<std::string> LineSocket::receive(const std::string& beginning, milliseconds limit) {
  const auto end = std::chrono::steady_clock::now() + limit;
  for (;;) {
    for (auto at = pending_.find('\n'); at != pending_.npos; at = pending_.find('\n')) {
      const std::string line = pending_.substr(0, at);
      pending_.erase(0, at + 1);
      if (line.starts_with(beginning)) return line;
    }
    const auto left = std::chrono::duration_cast<milliseconds>(end - std::chrono::steady_clock::now());
    pollfd waiting{socket_.get(), POLLIN, 0};
    if (left.count() <= 0 || ::poll(&waiting, 1, static_cast<int>(left.count())) <= 0) {
      return fail(ErrorKind::kTimedOut, "no line '" + beginning + "...' but: " + pending_);
    }
    char buffer[1024];
    const ssize_t got = ::recv(socket_.get(), buffer, sizeof(buffer), 0);
    if (got <= 0) return fail(ErrorKind::kPeerLost, "the line is closed");
    pending_.append(buffer, static_cast<std::size_t>(got));
  }
}

Result<DeviceGuest::Side> DeviceGuest::start_side(bool incoming) {
  Side side;
  side.own = TRY(TempFolder::make("/tmp"));
  const auto own = side.own.path();
  if (options_.tpm) {
    const auto state = own / "tpm-state";
    std::filesystem::create_directory(state);
    ChildOptions tpm;
    tpm.command = {"swtpm",
                   "socket",
                   "--tpm2",
                   "--tpmstate",
                   "dir=" + state.string(),
                   "--ctrl",
                   "type=unixio,path=" + (own / "tpm").string()};
    tpm.output = tpm.errors = own / "tpm-log";
    side.tpm = TRY(ChildProcess::start(tpm));
    if (!wait_until([&] { return std::filesystem::exists(own / "tpm") || !side.tpm->alive(); }, seconds(20)) ||
        !side.tpm->alive()) {
      return fail(ErrorKind::kNotFound, "swtpm does not start: " + side.tpm->errors());
    }
  }
  QemuOptions qemu = options_.qemu;
  qemu.incoming = incoming;
  for (auto& argument : qemu.more) {
    argument = replaced(replaced(argument, "%OWN%", own.string()), "%SHARED%", shared_.path().string());
  }
  auto started = TestQemu::start(qemu);
  if (!started) {
    const bool lacks = started.error().message.find("not a valid device model name") != std::string::npos;
    return fail(lacks ? ErrorKind::kUnsupported : started.error().kind, started.error().message);
  }
  side.qemu = std::move(*started);
  side.line = std::make_unique<LineSocket>(TRY(LineSocket::connect(own / "line")));
  return side;
}

Result<std::unique_ptr<DeviceGuest>> DeviceGuest::start(const DeviceGuestOptions& options) {
  const GuestFiles files = TRY(make_guest_files());
  auto guest = std::unique_ptr<DeviceGuest>(new DeviceGuest);
  guest->options_ = options;
  guest->shared_ = TRY(TempFolder::make("/tmp"));
  for (const unsigned mebibytes : options.disks) {
    const auto path = guest->shared() / fmt::format("{}.img", mebibytes);
    std::ofstream(path).flush();
    std::filesystem::resize_file(path, mebibytes * kMiB);
  }
  if (!options.flash.empty()) std::filesystem::copy_file(options.flash, guest->shared() / "vars.fd");
  QemuOptions& qemu = guest->options_.qemu;
  qemu.guest = files.kernel;
  qemu.guest_line =
      "console=ttyS0 panic=-1 loglevel=5 vt.global_cursor_default=0 fbcon=nodefer net.ifnames=0 tsc=unstable " +
      qemu.guest_line;
  // Without cx16: some QEMUs' emulation of it fails with more than one CPU.
  if (qemu.cpu_model.empty()) qemu.cpu_model = "qemu64,-cx16";
  const std::vector<std::string> always = {"-initrd",  files.initramfs.string(),
                                           "-chardev", "socket,id=line,path=%OWN%/line,server=on,wait=off",
                                           "-device",  "isa-serial,chardev=line"};
  qemu.more.insert(qemu.more.begin(), always.begin(), always.end());
  guest->here_ = TRY(guest->start_side(false));
  return guest;
}

Status DeviceGuest::wait_until_ready(milliseconds limit) {
  const auto says = [this](const char* words) { return qemu().serial().find(words) != std::string::npos; };
  const bool ended =
      wait_until([&] { return says("GODWIT-GUEST READY") || says("GODWIT-GUEST DOWN") || !qemu().alive(); }, limit);
  if (ended && says("GODWIT-GUEST READY")) return {};
  return fail(ErrorKind::kTimedOut, "the guest did not come up: " + qemu().serial() + qemu().errors());
}

Result<std::string> DeviceGuest::ask(const std::string& command, milliseconds limit) {
  const std::string number = fmt::format("{} ", ++asked_);
  TRY(here_.line->send(number + command));
  const std::string line = TRY_IN(command, here_.line->receive(number, limit));
  const std::string answer = line.substr(number.size());
  if (!answer.starts_with("ok")) return fail(ErrorKind::kIo, command + ": the guest says " + answer);
  return answer.substr(std::min<std::size_t>(3, answer.size()));
}

Status DeviceGuest::start_destination() {
  there_ = TRY_IN("the destination", start_side(true));
  return {};
}

void DeviceGuest::arrive() {
  here_ = std::move(there_);
  there_ = {};
}

Status DeviceGuest::move(const std::string& way) {
  if (!there_.qemu) TRY(start_destination());
  const auto receiver = TRY(start_receive(*there_.qemu));
  const std::string address = TRY(receiver->listening_at(seconds(60)));
  GodwitOptions options;
  // A busy machine may take its time.
  options.arguments = {"--devices", way, "--max-downtime", "2s"};
  const auto sender = TRY(start_send(qemu(), address, options));
  const Ended sent = TRY_IN("godwit send", sender->wait(seconds(180)));
  const Ended received = TRY_IN("godwit receive", receiver->wait(seconds(60)));
  if (sent.code != 0 || received.code != 0) {
    return fail(sent.code == 1 ? ErrorKind::kRefused : ErrorKind::kProtocol,
                fmt::format("exit codes {} and {}; send: {}receive: {}", sent.code, received.code, sender->errors(),
                            receiver->errors()));
  }
  const Json report = TRY(sender->report());
  if (report.value("devices", "") != way) {
    return fail(ErrorKind::kProtocol, "devices did not go by " + way + ": " + report.value("why_stream", ""));
  }
  if (TRY(there_.qemu->status()) != "running") return fail(ErrorKind::kProtocol, "it does not run at the destination");
  if (TRY(qemu().status()) == "running") return fail(ErrorKind::kProtocol, "it runs at the source");
  arrive();
  return {};
}

Status DeviceGuest::move_by_qemu() {
  if (!there_.qemu) TRY(start_destination());
  const std::string uri = "unix:" + (there_.own.path() / "migration").string();
  TRY(there_.qemu->monitor().execute("migrate-incoming", {{"uri", uri}}));
  TRY(qemu().monitor().execute("migrate", {{"uri", uri}}));
  std::string state;
  const auto ended = [&] {
    const auto answer = qemu().monitor().execute("query-migrate");
    state = answer ? answer->value("status", "") : answer.error().message;
    return state == "completed" || state == "failed" || !answer;
  };
  if (!wait_until(ended, seconds(180)) || state != "completed") {
    return fail(ErrorKind::kHypervisor, "QEMU's own migration: " + state);
  }
  // The destination was started with -S.
  if (!wait_until([&] { return there_.qemu->status().value_or("") == "paused"; }, seconds(60))) {
    return fail(ErrorKind::kHypervisor, "QEMU's own migration did not arrive: " + there_.qemu->errors());
  }
  TRY(there_.qemu->go_on());
  arrive();
  return {};
}

Status DeviceGuest::expect_calm() {
  const std::string console = qemu().serial();
  for (const char* trouble : {"BUG:", "Oops", "Call Trace", "Kernel panic", "soft lockup", "I/O error", "Bad page",
                              "NETDEV WATCHDOG", "qc timeout", "hung", "failed command"}) {
    if (console.find(trouble) != console.npos) return fail(ErrorKind::kIo, "the guest's console: " + console);
  }
  return {};
}

}  // namespace godwit::testing
