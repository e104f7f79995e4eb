// Names of hosts as certificates have them: DNS names and IP addresses.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace godwit {

/// The 4 or 16 bytes of an IP address; none if the text is not one.
std::vector<unsigned char> address_bytes(const std::string& name);

/// kInvalidArgument, with the reason, for what is neither a DNS name nor an IP address. A name that passes can be a
/// file's name, too.
Status check_host_name(const std::string& name);

}  // namespace godwit
