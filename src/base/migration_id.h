// The name of a migration: the source makes it up, and both sides' logs, reports and journals have it.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

/// What a peer or a journal may give as one. Ours are shorter.
inline constexpr std::size_t kMaxMigrationId = 64;

/// 12 hexadecimal digits: among a million migrations two are the same with a chance of one in 500.
Result<std::string> random_migration_id();

/// 1 to kMaxMigrationId digits, 0-9 and a-f.
bool is_migration_id(std::string_view text) noexcept;

/// The calling thread is one of this migration's: top and gdb show it as "gw-3f2a-lane0". What is longer than the
/// kernel's 15 bytes is cut.
void name_thread(std::string_view migration_id, std::string_view what) noexcept;

}  // namespace godwit
