// What comes from a remote shell, cut into lines and read: nothing in it crashes, and a message that is taken is one
// that can be said again.
#include "remote/remote_message.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace godwit;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  const auto look = [](std::string_view line) {
    if (line.size() > 1024) std::abort();
    const auto message = message_of(line);
    if (!message) return;
    const std::string again = line_of(*message);
    if (again.find('\n') != again.size() - 1) std::abort();
    const auto same = message_of(std::string_view(again).substr(0, again.size() - 1));
    if (!same || same->index() != message->index()) std::abort();
  };
  LineBuffer lines(1024);
  const std::size_t half = size / 2;
  lines.add(bytes.substr(0, half), look);
  lines.add(bytes.substr(half), look);
  lines.flush(look);
  return 0;
}
