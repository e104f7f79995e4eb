// What tells one hand-over's stop of the guest from any other stop, for whoever finds the guest paused later.
//
// QEMU keeps the numbers of its latest migration (query-migrate) and forgets them when it begins another. While nobody
// has moved the VM again they are those of our hand-over: exactly the same once they have been read after its end;
// before that, in agreement with what was seen of its stream.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

/// What has been seen of a hand-over when its guest is paused.
struct SeenStop {
  Instant asked;                   ///< `migrate` was sent
  Instant answered;                ///< QEMU had taken it
  std::optional<Instant> stopped;  ///< of QEMU's event, if it has come
  Instant seen_paused;             ///< the end of RAM was read: it was paused by then
  std::uint64_t pages;             ///< with content, in the stream up to here
  std::uint64_t zeros;             ///< pages of zeros
  bool all_pages = false;          ///< no more will come
};

std::string mark_of(const SeenStop& seen);
/// `numbers`: query-migrate's answer after the end of the hand-over.
std::string mark_of(const Json& numbers);

/// Whether `numbers` (query-migrate's answer now) are those of the hand-over that the mark speaks of. If not, why not,
/// in words that follow "the guest is left alone, because".
Status check_mark(std::string_view mark, const Json& numbers);

}  // namespace godwit::qemu
