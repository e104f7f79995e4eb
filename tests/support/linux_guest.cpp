#include "tests/support/linux_guest.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

namespace godwit::testing {
namespace {

constexpr std::size_t kContentBytes = 8 << 20;  // the guest reads it again and again until it has enough
constexpr std::size_t kLongestAnswer = 4096;

struct Files {
  std::filesystem::path kernel;
  std::filesystem::path initramfs;
};

/// What the project's tools make once and then find again.
Result<Files> make_files(const std::string& suite) {
  const char* source = std::getenv("GODWIT_SOURCE");
  if (source == nullptr) return fail(ErrorKind::kNotFound, "GODWIT_SOURCE does not name the source tree");
  const std::filesystem::path root = source;
  std::vector<std::string> fetch = {root / "tools/fetch_guest_kernel"};
  if (!suite.empty()) fetch.insert(fetch.end(), {"--suite", suite});
  const auto fetched = run_program(fetch, seconds(300));
  if (!fetched) return fail(ErrorKind::kNotFound, "no kernel for a Linux guest: " + fetched.error().message);
  // It prints the folder as its last line.
  std::string folder = fetched->substr(0, fetched->find_last_not_of('\n') + 1);
  folder = folder.substr(folder.rfind('\n') + 1);
  Files files;
  files.kernel = std::filesystem::path(folder) / "vmlinuz";
  files.initramfs = root / "build/guest" / (suite.empty() ? "initramfs" : "initramfs-" + suite);
  const auto built = run_program({root / "tests/guests/linux/build_initramfs", folder, files.initramfs}, seconds(300));
  if (!built) return fail(ErrorKind::kNotFound, "no initramfs for a Linux guest: " + built.error().message);
  return files;
}

/// Any bytes will do that are not the same in every page.
void write_content(const std::filesystem::path& path) {
  std::mt19937_64 random(20260101);
  std::ofstream out(path, std::ios::binary);
  for (std::size_t i = 0; i < kContentBytes / sizeof(std::uint64_t); ++i) {
    const std::uint64_t word = random();
    out.write(reinterpret_cast<const char*>(&word), sizeof(word));
  }
}

Result<LinuxGuest::Answer> parse(const std::string& line) {
  std::istringstream words(line);
  std::string word;
  if (!(words >> word) || word != "ok") return fail(ErrorKind::kProtocol, "the guest says: " + line);
  LinuxGuest::Answer answer;
  const auto number = [&word](std::string_view name, std::uint64_t& into, std::uint64_t unit) {
    if (word.starts_with(name)) into = std::strtoull(word.c_str() + name.size(), nullptr, 10) * unit;
  };
  while (words >> word) {
    number("errors=", answer.errors, 1);
    number("passes=", answer.passes, 1);
    number("free_kb=", answer.free_bytes, 1024);
  }
  return answer;
}

}  // namespace

Result<std::unique_ptr<LinuxGuest>> LinuxGuest::start(const LinuxGuestOptions& options) {
  const Files files = TRY(make_files(options.suite));
  auto guest = std::unique_ptr<LinuxGuest>(new LinuxGuest);
  guest->folder_ = TRY(TempFolder::make("/tmp"));
  const auto content = guest->folder_.path() / "content";
  write_content(content);
  QemuOptions qemu = options.qemu;
  qemu.guest = files.kernel;
  qemu.guest_line = fmt::format(
      "console=ttyS0 panic=-1 quiet godwit.ip=10.0.2.15/24 godwit.content={} godwit.random={} godwit.freed={} "
      "godwit.area={} godwit.load=idle {}",
      options.content, options.random, options.freed, options.area, options.words);
  // Without cx16: some QEMUs' emulation of it fails with more than one CPU.
  if (qemu.cpu_model.empty()) qemu.cpu_model = "qemu64,-cx16";
  const std::vector<std::string> more = {
      "-initrd", files.initramfs,
      "-drive",  fmt::format("file={},format=raw,if=none,id=content,readonly=on", content.string()),
      "-device", "virtio-blk-pci,drive=content",
      "-netdev", "user,id=net,hostfwd=tcp:127.0.0.1:0-10.0.2.15:7777",
      "-device", "virtio-net-pci,netdev=net,romfile="};
  qemu.more.insert(qemu.more.end(), more.begin(), more.end());
  guest->options_ = qemu;
  guest->qemu_ = TRY(TestQemu::start(qemu));
  guest->port_ = TRY(guest->forwarded_port());
  return guest;
}

Result<std::unique_ptr<TestQemu>> LinuxGuest::start_destination() const {
  QemuOptions waiting = options_;
  waiting.incoming = true;
  return TestQemu::start(waiting);
}

Status LinuxGuest::move_into(std::unique_ptr<TestQemu> destination) {
  qemu_ = std::move(destination);
  port_ = TRY(forwarded_port());
  return {};
}

Status LinuxGuest::wait_until_ready(unsigned boots, milliseconds limit) {
  bool down = false;
  const bool up = wait_until(
      [&] {
        const std::string console = qemu_->serial();
        unsigned seen = 0;
        for (auto at = console.find("GODWIT-GUEST READY"); at != console.npos;
             at = console.find("GODWIT-GUEST READY", at + 1)) {
          ++seen;
        }
        down = console.find("GODWIT-GUEST DOWN") != console.npos || !qemu_->alive();
        return seen >= boots || down;
      },
      limit);
  if (up && !down) return {};
  return fail(ErrorKind::kTimedOut, "the Linux guest did not come up: " + qemu_->serial() + qemu_->errors());
}

/// In a line as "  TCP[HOST_FORWARD]  12       127.0.0.1 40123       10.0.2.15  7777     0     0".
Result<std::uint16_t> LinuxGuest::forwarded_port() {
  std::istringstream lines(TRY(qemu_->monitor().human("info usernet")));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string kind, descriptor, address;
    std::uint16_t port = 0;
    if (words >> kind >> descriptor >> address >> port && kind == "TCP[HOST_FORWARD]") return port;
  }
  return fail(ErrorKind::kProtocol, "QEMU does not say which port it forwards");
}

Result<LinuxGuest::Answer> LinuxGuest::ask(const std::string& line, milliseconds limit) {
  const UniqueFd connection(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port_);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const timeval patience{limit.count() / 1000, limit.count() % 1000 * 1000};
  ::setsockopt(connection.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  if (::connect(connection.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)) != 0) {
    return fail_os("connect to the guest");
  }
  const std::string sent = line + "\n";
  if (::send(connection.get(), sent.data(), sent.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(sent.size())) {
    return fail_os("ask the guest");
  }
  std::string answer;
  while (answer.find('\n') == answer.npos && answer.size() < kLongestAnswer) {
    char buffer[512];
    const ssize_t got = ::recv(connection.get(), buffer, sizeof(buffer), 0);
    if (got < 0) return fail_os("wait for the guest's answer to " + line);
    if (got == 0) return fail(ErrorKind::kPeerLost, "the guest hung up");
    answer.append(buffer, static_cast<std::size_t>(got));
  }
  return parse(answer.substr(0, answer.find('\n')));
}

Status LinuxGuest::expect_well() {
  const Answer answer = TRY(ask("verify"));
  if (answer.errors != 0) return fail(ErrorKind::kIo, fmt::format("the guest found {} errors", answer.errors));
  const std::string console = qemu_->serial();
  for (const char* trouble : {"BUG:", "Oops", "Call Trace", "Kernel panic", "GODWIT-GUEST ERROR", "soft lockup",
                              "pagealloc: memory corruption", "Bad page state"}) {
    if (console.find(trouble) != console.npos) return fail(ErrorKind::kIo, "the guest's console: " + console);
  }
  return {};
}

}  // namespace godwit::testing
