// Which accelerators can be used here, in words.
#pragma once

#include <string>
#include <vector>

namespace godwit {

/// Opens each, lets it encode a block, and closes it again: "qat: can be used: ...", "iaa: cannot be used: ...".
std::vector<std::string> try_accelerators();

}  // namespace godwit
