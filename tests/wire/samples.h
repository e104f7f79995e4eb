// One message of each type with fixed values, random ones, and bytes as hex.
#pragma once

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "wire/messages.h"

namespace godwit::wire::testing {

std::string hex(Bytes bytes);
std::vector<std::byte> unhex(std::string_view digits);

/// The fingerprint in the golden bytes.
Fingerprint sample_fingerprint();
/// One message of each type, in the order of the variant.
std::vector<Message> sample_messages();
/// A message of any type, its values drawn from their whole ranges.
Message random_message(std::mt19937_64& random);

}  // namespace godwit::wire::testing
