#include "remote/near_side.h"

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "remote/ssh_target.h"

namespace godwit {

namespace {

int poll_milliseconds(Duration duration) {
  return static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(duration).count());
}

}  // namespace

NearSide::~NearSide() {
  watch_no_more();
}

void NearSide::tell(const RemoteMessage& message) {
  // A login shell may have printed something without a line end, such as a terminal's title.
  const std::string line = (told_ ? "" : "\n") + line_of(message);
  told_ = true;
  for (std::string_view rest = line; !rest.empty();) {
    const ssize_t written = ::write(out_, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
}

Result<KeyBytes> NearSide::key_line(Duration limit) {
  const Instant end = std::chrono::steady_clock::now() + limit;
  KeyBytes line;
  // Byte by byte: what comes behind it is watch()'s.
  while (!line.room().empty()) {
    const Duration left = end - std::chrono::steady_clock::now();
    if (left <= Duration{}) return fail(ErrorKind::kTimedOut, "no key came by ssh");
    pollfd look{in_, POLLIN, 0};
    if (::poll(&look, 1, poll_milliseconds(left)) <= 0) continue;
    const MutableBytes next = line.room().first(1);
    const ssize_t got = ::read(in_, next.data(), next.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail(ErrorKind::kPeerLost, "the connection by ssh has ended before a key came");
    if (text_of(next) == "\n") return line;
    line.taken(next.size());
  }
  return fail(ErrorKind::kProtocol, "what came by ssh is not a key");
}

void NearSide::watch(std::function<void(const std::string& why)> on_gone, Duration silence) {
  thread_ = std::jthread([this, on_gone = std::move(on_gone), silence](std::stop_token stop) {
    Heard heard = Heard::kSomething;
    while (heard == Heard::kSomething && !stop.stop_requested()) heard = wait_for_more(silence);
    if (stop.stop_requested()) return;
    on_gone(heard == Heard::kEnd ? "the connection of the remote shell that has started this has ended"
                                 : fmt::format("nothing was heard for {} s by the remote shell that has started this",
                                               std::chrono::duration_cast<std::chrono::seconds>(silence).count()));
  });
}

void NearSide::watch_no_more() {
  if (!thread_.joinable()) return;
  thread_.request_stop();
  wake_.wake();
  thread_.join();
}

/// Until something comes, which is read and passed over, or this object goes.
NearSide::Heard NearSide::wait_for_more(Duration limit) {
  std::array<pollfd, 2> look{{{in_, POLLIN, 0}, {wake_.descriptor(), POLLIN, 0}}};
  const int ready = ::poll(look.data(), look.size(), poll_milliseconds(limit));
  if (ready < 0) return errno == EINTR ? Heard::kSomething : Heard::kEnd;
  if (ready == 0) return Heard::kNothing;
  if (look[0].revents == 0) return Heard::kSomething;
  std::array<char, 256> bytes;
  const ssize_t got = ::read(in_, bytes.data(), bytes.size());
  return got > 0 || (got < 0 && (errno == EINTR || errno == EAGAIN)) ? Heard::kSomething : Heard::kEnd;
}

Result<Address> address_of_ssh(const char* connection) {
  const std::string_view text = connection == nullptr ? "" : connection;
  // "client's address, its port, server's address, its port"
  const auto words = words_of(text);
  if (!words || words->size() != 4) {
    return fail(ErrorKind::kInvalidArgument,
                "the remote shell does not say by which address it has come (SSH_CONNECTION): "
                "give `godwit send` --via ADDRESS");
  }
  return parse_data_address((*words)[2]);
}

}  // namespace godwit
