// The states of QEMU's migration (query-migrate, event MIGRATION), sorted by what they mean to us.
#pragma once

#include <string_view>

namespace godwit::qemu {

/// Nothing moves any more, and nothing will unless asked. "" and "none": there never was a migration.
inline bool is_settled(std::string_view status) noexcept {
  return status.empty() || status == "none" || status == "completed" || status == "failed" || status == "cancelled";
}

/// setup, active, pre-switchover, device, cancelling, post-copy's, and any that a later QEMU adds.
inline bool is_under_way(std::string_view status) noexcept {
  return !is_settled(status);
}

}  // namespace godwit::qemu
