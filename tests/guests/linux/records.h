// Records as an application keeps them in a key-value store: JSON, 400 to 1000 bytes, of words, numbers and a token.
//
// A record follows from its key and version alone. So whoever knows the version knows every byte, and keeps four bytes
// a record to verify all of them. From one version to the next most of the text stays, and the numbers change.
#pragma once

#include <cstdint>
#include <string>

namespace godwit::guest {

/// As "user:00001234".
void write_key(std::string& out, std::uint32_t key);
/// Replaces what `out` holds.
void write_record(std::string& out, std::uint32_t key, std::uint32_t version);

}  // namespace godwit::guest
