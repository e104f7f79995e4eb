#include "vmm/qemu/stream_socket.h"

#include <sys/socket.h>

#include <array>
#include <nlohmann/json.hpp>

namespace godwit::qemu {
namespace {

// The end of a stream, some 100 KB of devices, should fit: QEMU then ends its part without waiting for this process.
constexpr int kBufferSize = 4 << 20;
// While the guest runs. QEMU sends RAM no slower so (64 pages a write, and the buffer stays in the cache).
constexpr int kSmallBufferSize = 64 << 10;

void enlarge(int fd) {
  // FORCE needs CAP_NET_ADMIN; without it the system's limit holds, which is only slower.
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &kBufferSize, sizeof kBufferSize) == 0) return;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &kBufferSize, sizeof kBufferSize);
}

}  // namespace

Result<StreamSocket> make_stream_socket() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()) != 0) return fail_os("socketpair");
  UniqueFd ours(ends[0]);
  UniqueFd theirs(ends[1]);
  enlarge(ours.get());
  ::setsockopt(theirs.get(), SOL_SOCKET, SO_SNDBUF, &kSmallBufferSize, sizeof kSmallBufferSize);
  return StreamSocket{std::move(ours), std::move(theirs)};
}

Result<StreamSocket> give_stream_socket(Qmp& qmp, std::string_view name) {
  auto socket = TRY(make_stream_socket());
  TRY(qmp.give_descriptor(name, socket.theirs.get()));
  return socket;
}

void widen(UniqueFd& theirs) noexcept {
  if (!theirs) return;
  enlarge(theirs.get());
  theirs.reset();
}

void withdraw_stream_socket(Qmp& qmp, std::string_view name) noexcept {
  (void)qmp.execute("closefd", Json{{"fdname", name}});
}

}  // namespace godwit::qemu
