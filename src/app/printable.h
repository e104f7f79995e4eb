// Text from a peer, a guest's name or a file, made safe for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace godwit {

/// UTF-8. Control characters (escape sequences, line ends), what turns the direction of writing, and what is not UTF-8
/// become '?'; text of more than `most` bytes is cut between two letters, with "...".
std::string printable(std::string_view text, std::size_t most = 1000);

}  // namespace godwit
