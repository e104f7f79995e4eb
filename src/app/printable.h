// Text from a peer, a guest's name or a file, made safe for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace godwit {

/// Control characters (escape sequences, line ends) become '?'; text of more than `most` bytes is cut with "...".
std::string printable(std::string_view text, std::size_t most = 1000);

}  // namespace godwit
