// The optional keys of a fingerprint that say what the machine is made of. Inside this folder only.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "vm/fingerprint.h"

namespace godwit::wire {

/// What is empty is left out.
void add_machine(nlohmann::json& object, const Fingerprint& fingerprint);
/// What is missing is left empty.
Status read_machine(const nlohmann::json& object, Fingerprint& fingerprint);

}  // namespace godwit::wire
