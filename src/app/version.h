// What this program calls itself, on the command line and to its peer.
#pragma once

#include <string_view>

namespace godwit {

/// Name and version, as in Hello and Welcome. A test holds it to the version in CMakeLists.txt.
inline constexpr std::string_view kProgram = "godwit 0.1.0";

}  // namespace godwit
