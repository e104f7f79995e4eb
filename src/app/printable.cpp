#include "app/printable.h"

#include <algorithm>

namespace godwit {

std::string printable(std::string_view text, std::size_t most) {
  std::string out(text.substr(0, most));
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return text.size() > most ? out + "..." : out;
}

}  // namespace godwit
