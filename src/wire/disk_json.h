// A fingerprint's disks as JSON: an optional key. Inside this folder only.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "base/result.h"
#include "vm/disk.h"

namespace godwit::wire {

/// Nothing is added where there are none.
void add_disks(nlohmann::json& object, const std::vector<Disk>& disks);
Result<std::vector<Disk>> read_disks(const nlohmann::json& object);

}  // namespace godwit::wire
