#include "vmm/qemu/handover_mark.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;

// QEMU counts in whole milliseconds, by a clock that runs like ours.
constexpr std::int64_t kRounding = 2;
// QEMU takes the time before it stops the vCPUs, which on a host that is overloaded takes a while. Where the time is
// right by chance, the numbers of pages are not.
constexpr std::int64_t kStopping = 250;
// Pages that may still come behind the beginning of the stream's last part: 16 MiB.
constexpr std::uint64_t kMorePages = 4096;

constexpr std::array kTimes = {"total-time", "downtime", "setup-time"};
constexpr std::array kRamCounts = {"transferred", "normal", "duplicate", "precopy-bytes", "downtime-bytes"};

std::int64_t in_ms(Duration duration) {
  return duration_cast<milliseconds>(duration).count();
}

/// Those of QEMU's numbers that do not change any more once a migration has ended.
Json kept_numbers(const Json& numbers) {
  Json kept = Json::object();
  for (const auto* name : kTimes) kept[name] = number_at(numbers, name);
  const Json& ram = member(numbers, "ram");
  for (const auto* name : kRamCounts) kept[name] = number_at(ram, name);
  return kept;
}

bool counts_fit(std::uint64_t seen, std::uint64_t now, bool all) {
  return all ? now == seen : now >= seen && now - seen <= kMorePages;
}

Status check_seen(const Json& seen, const Json& numbers) {
  const auto other = [](std::string_view what) {
    return fail(ErrorKind::kRefused,
                fmt::format("QEMU has migrated it again since by other means (its last migration {})", what));
  };
  const auto running = static_cast<std::int64_t>(number_at(numbers, "total-time")) -
                       static_cast<std::int64_t>(number_at(numbers, "downtime"));
  const auto least = static_cast<std::int64_t>(number_at(seen, "least_ms"));
  const auto most = static_cast<std::int64_t>(number_at(seen, "most_ms"));
  if (running < least - kStopping || running > most + kRounding) {
    return other(fmt::format("stopped the guest after {} ms, godwit's after {} to {} ms", running, least, most));
  }
  const bool all = bool_at(seen, "all_pages");
  const Json& ram = member(numbers, "ram");
  if (!counts_fit(number_at(seen, "pages"), number_at(ram, "normal"), all) ||
      !counts_fit(number_at(seen, "zeros"), number_at(ram, "duplicate"), all)) {
    return other("sent another number of pages");
  }
  return {};
}

}  // namespace

std::string mark_of(const SeenStop& seen) {
  const auto since = [](Instant from, Instant to) { return std::max<std::int64_t>(0, in_ms(to - from)); };
  // Between the stop and the end of RAM disks are drained, and this process waits for its turn.
  return Json{{"least_ms", seen.stopped ? since(seen.answered, *seen.stopped) : 0},
              {"most_ms", since(seen.asked, seen.stopped.value_or(seen.seen_paused))},
              {"pages", seen.pages},
              {"zeros", seen.zeros},
              {"all_pages", seen.all_pages}}
      .dump();
}

std::string mark_of(const Json& numbers) {
  return Json{{"numbers", kept_numbers(numbers)}}.dump();
}

Status check_mark(std::string_view mark, const Json& numbers) {
  const Json seen = Json::parse(mark, nullptr, /*allow_exceptions=*/false);
  if (!seen.is_object()) return fail(ErrorKind::kRefused, "godwit's record of the guest's stop cannot be read");
  if (text_at(numbers, "status") != "completed") {
    return fail(ErrorKind::kRefused, fmt::format("QEMU's last migration is '{}'", text_at(numbers, "status")));
  }
  const Json& ours = member(seen, "numbers");
  if (ours.is_null()) return check_seen(seen, numbers);
  if (ours == kept_numbers(numbers)) return {};
  return fail(ErrorKind::kRefused,
              "QEMU has migrated it again since by other means (the numbers of its last migration are not those of "
              "godwit's)");
}

}  // namespace godwit::qemu
