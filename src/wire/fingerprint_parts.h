// The optional keys of a fingerprint as JSON: its disks, and what the machine is made of. Inside this folder only.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"
#include "vm/fingerprint.h"

namespace godwit::wire {

/// Nothing is added where there are none.
void add_disks(nlohmann::json& object, const std::vector<Disk>& disks);
Result<std::vector<Disk>> read_disks(const nlohmann::json& object);

/// What is empty is left out.
void add_machine(nlohmann::json& object, const Fingerprint& fingerprint);
/// What is missing is left empty.
Status read_machine(const nlohmann::json& object, Fingerprint& fingerprint);

}  // namespace godwit::wire
