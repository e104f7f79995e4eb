// A fingerprint as JSON, as it is in Hello and Welcome (spec.md) and in what a person reads.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/result.h"
#include "vm/fingerprint.h"

namespace godwit::wire {

std::string fingerprint_to_json(const Fingerprint& fingerprint);
/// kProtocol names the key that is missing, of a wrong type or over its limit. Unknown keys are ignored.
Result<Fingerprint> fingerprint_from_json(std::string_view text);

nlohmann::json json_of(const Fingerprint& fingerprint);
Result<Fingerprint> fingerprint_of(const nlohmann::json& object);

}  // namespace godwit::wire
