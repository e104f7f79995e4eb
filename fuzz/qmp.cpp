// A monitor that answers as the fuzzer likes: greeting, answers, events, in pieces and cut anywhere.
//
//   input   | how | pieces | bytes ...
//   how       bit 0: a genuine greeting comes first     bit 1: and the answer to qmp_capabilities
//   bytes     from 0x80 on, which JSON has in texts only, a byte is a word of QMP (kWords), a row of brackets or of
//             digits, or the end of what comes before the next command is read. The rest are themselves.
//
// What must hold: every command has an answer or an error that says what is wrong; the loss of the monitor is told
// once; events have come when they were read or a little before; and the fields of answers are read without an
// exception.
#include "vmm/qemu/qmp.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "fuzz/input.h"
#include "vmm/qemu/info_network.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/vcpu_registers.h"

namespace {

using namespace godwit;
using qemu::Json;

constexpr std::size_t kMostInALine = 64 * 1024;
constexpr std::uint8_t kFirstWord = 0x80;
constexpr std::uint8_t kNextCommand = 0xff;
constexpr std::string_view kGreeting = R"({"QMP": {"version": {"qemu": {"major": 10}}, "capabilities": []}})"
                                       "\r\n";
constexpr std::array<std::string_view, 26> kWords = {
    "\r\n",
    R"({"return": {}, "id": 1})"
    "\r\n",
    R"({"return": )",
    R"(, "id": 2})"
    "\r\n",
    R"(, "id": 3})"
    "\r\n",
    R"(, "id": 4})"
    "\r\n",
    R"(, "id": 5})"
    "\r\n",
    R"({"error": {"class": "GenericError", "desc": ")", R"({"error": {"class": "CommandNotFound", "desc": ")",
    R"("}, "id": 2})"
    "\r\n",
    R"({"event": ")", R"(", "timestamp": {"seconds": )", R"(, "microseconds": )",
    R"(}})"
    "\r\n",
    R"("data": {)", R"("status": "running")", R"("QMP")", "18446744073709551616",
    // Seconds that do not fit into 64 bits of microseconds, or of nanoseconds.
    "9223372036855", "13835058055282", "-1e9999", "\xf0\x9f\x98\x80", "\xc3", R"(\ud800)",
    "CR0=80000011 CR2=00000000 CR3=00001000 CR4=00002000", R"("id")"};

/// What is written before each command is read.
std::vector<std::string> written_by(Input& input) {
  const unsigned how = input.byte();
  std::vector<std::string> parts(1);
  if ((how & 1) != 0) {
    parts.back() += kGreeting;
    parts.emplace_back();
    if ((how & 2) != 0) {
      parts.back() += kWords[1];
      parts.emplace_back();
    }
  }
  while (!input.empty() && parts.size() < 10) {
    const std::uint8_t byte = input.byte();
    if (byte == kNextCommand) {
      parts.emplace_back();
    } else if (byte < kFirstWord) {
      parts.back() += static_cast<char>(byte);
    } else if (const auto word = static_cast<std::size_t>(byte - kFirstWord); word < kWords.size()) {
      parts.back() += kWords[word];
    } else {
      static constexpr std::string_view kRepeated = "[{]}09\"\\";
      parts.back() += std::string(std::size_t{16} << (input.byte() % 12), kRepeated[byte % kRepeated.size()]);
    }
  }
  return parts;
}

/// The other end of the socket: one connection after the other, in a thread of its own.
class Monitor {
 public:
  Monitor() {
    std::string name = std::filesystem::temp_directory_path() / "godwit-fuzz-XXXXXX";
    check(::mkdtemp(name.data()) != nullptr);
    folder_ = name;
    path_ = folder_ / "qmp";
    socket_ = UniqueFd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    check(path_.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path_.data(), path_.size());
    check(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0);
    check(::listen(socket_.get(), 1) == 0);
  }
  ~Monitor() { std::filesystem::remove_all(folder_); }

  const std::string& path() const noexcept { return path_; }
  /// Serves the next one who connects, and closes the connection.
  void serve(const std::vector<std::string>& parts, std::size_t piece) const {
    UniqueFd client;
    // libFuzzer's timer interrupts.
    do client.reset(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    while (!client && errno == EINTR);
    check(static_cast<bool>(client));
    for (std::size_t number = 0; number < parts.size(); ++number) {
      const bool last = number + 1 == parts.size();
      // Nobody waits for an answer that never comes: at the end of each part is one that would be right.
      const std::string part = last ? parts[number] : parts[number] + right_answer(number);
      for (std::string_view rest = part; !rest.empty();) {
        const ssize_t sent = ::send(client.get(), rest.data(), std::min(piece, rest.size()), MSG_NOSIGNAL);
        if (sent <= 0) return;
        rest.remove_prefix(static_cast<std::size_t>(sent));
      }
      if (!last && !read_line(client.get())) return;
    }
  }

 private:
  static std::string right_answer(std::size_t number) {
    if (number == 0) return "\r\n" + std::string(kGreeting);
    return "\r\n{\"return\": {}, \"id\": " + std::to_string(number) + "}\r\n";
  }
  static bool read_line(int from) {
    std::array<char, 512> buffer;
    while (true) {
      const ssize_t got = ::recv(from, buffer.data(), buffer.size(), 0);
      if (got <= 0) return false;
      if (std::memchr(buffer.data(), '\n', static_cast<std::size_t>(got)) != nullptr) return true;
    }
  }
  std::filesystem::path folder_;
  std::string path_;
  UniqueFd socket_;
};

void check_error(const Error& error) {
  switch (error.kind) {
    case ErrorKind::kProtocol:
    case ErrorKind::kPeerLost:
    case ErrorKind::kHypervisor:
    case ErrorKind::kUnsupported:
      check(!error.message.empty());
      return;
    default:
      check(false);
  }
}

void read_fields(const Json& answer) {
  for (const char* key : {"status", "id", "data"}) {
    (void)qemu::text_at(answer, key);
    (void)qemu::number_at(answer, key);
    (void)qemu::bool_at(answer, key);
    (void)qemu::member(answer, key);
  }
}

void talk(const std::string& path) {
  static const SteadyClock clock;
  std::atomic<unsigned> lost{0};
  const Instant began = clock.now();
  auto qmp = qemu::connect_qmp(path, clock, {.line = kMostInALine});
  if (!qmp) return check_error(qmp.error());
  (*qmp)->on_event([&](const std::string&, const Json& data, Instant at) {
    // As old as an event may be, and never of the future.
    check(at <= clock.now() && at >= began - std::chrono::seconds(11));
    read_fields(data);
  });
  (*qmp)->on_lost([&] { ++lost; });
  const auto answer = (*qmp)->execute("query-status");
  if (answer) {
    read_fields(*answer);
  } else {
    check_error(answer.error());
  }
  const auto text = (*qmp)->human("info registers -a");
  if (text) {
    (void)qemu::parse_network_lines(*text);
    (void)qemu::parse_page_table_roots(*text);
    (void)qemu::parse_uses_vmx(*text);
  } else {
    check_error(text.error());
  }
  if (const auto rows = qemu::query_array(**qmp, "query-fdsets"); !rows) check_error(rows.error());
  // The other end has nothing more to say now, and goes.
  while (true) {
    const auto more = (*qmp)->execute("query-name");
    if (more) continue;
    check_error(more.error());
    if (more.error().kind == ErrorKind::kPeerLost || more.error().kind == ErrorKind::kProtocol) break;
  }
  qmp->reset();
  check(lost <= 1);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Monitor monitor;
  Input input(data, size);
  // Read first, like `how`: the order in which the bytes are taken is part of what an input means.
  const std::size_t piece = std::size_t{1} << (input.byte() % 17);
  const std::vector<std::string> parts = written_by(input);
  std::thread other([&] { talk(monitor.path()); });
  monitor.serve(parts, piece);
  other.join();
  return 0;
}
