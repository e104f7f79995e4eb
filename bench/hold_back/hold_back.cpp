// What it would save to keep pages that are written again and again off the link until nothing else waits, simulated
// page by page: of 2 GiB at some 100 MB/s, bytes and time of the whole move as ratios to those without.
//
//   build/release/bench/bench_hold_back
#include <fmt/format.h>

#include "tests/engine/page_by_page_move.h"

namespace {

using namespace godwit;
using testing::always;
using testing::HoldBack;
using testing::PageByPageGuest;
using testing::PageByPageMove;
using testing::WrittenArea;

constexpr std::size_t kRam = 524'288;
constexpr double kRate = 25'000 * PageByPageMove::kPageBytes;
constexpr unsigned kSeeds = 3;

struct Case {
  const char* name;
  std::vector<WrittenArea> areas;
};

WrittenArea area(std::size_t first, double pages, double per_second, bool random = true) {
  return {first, always(pages), always(per_second), random};
}

PageByPageMove::End mean_of_moves(const Case& guest, HoldBack hold_back) {
  PageByPageMove::End sum;
  sum.switched = true;
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    PageByPageMove move({kRam, guest.areas, seed}, always(kRate));
    move.hold_back = hold_back;
    Goals goals;
    goals.timeout = std::chrono::minutes(3);
    goals.max_downtime = std::chrono::milliseconds(300);
    const auto end = move.run(goals);
    sum.switched = sum.switched && end.switched;
    sum.bytes += end.bytes / kSeeds;
    sum.total += end.total / kSeeds;
  }
  return sum;
}

}  // namespace

int main() {
  const std::vector<Case> guests = {
      {"128 MiB, 4000 pages/s", {area(100'000, 32'768, 4000)}},
      {"512 MiB, 10000 pages/s", {area(100'000, 131'072, 10'000)}},
      {"16 MiB, 20000 pages/s", {area(100'000, 4096, 20'000)}},
      {"three heats", {area(10'000, 1024, 20'000), area(200'000, 8192, 8000), area(300'000, 65'536, 4000)}},
      {"two heats and all of it", {area(10'000, 1024, 20'000), area(200'000, 8192, 8000), area(0, kRam, 500)}},
      {"1.2 GiB in turn", {area(100'000, 300'000, 10'000, false)}},
  };
  fmt::print(
      "| guest | none: MiB, s | again and again: bytes, time | written once: bytes, time |\n|---|---|---|---|\n");
  for (const Case& guest : guests) {
    const auto none = mean_of_moves(guest, HoldBack::kNone);
    if (!none.switched) continue;
    fmt::print("| {} | {:.0f}, {:.1f} |", guest.name, none.bytes / (1 << 20), none.total);
    for (const HoldBack way : {HoldBack::kWrittenAgainAndAgain, HoldBack::kWritten}) {
      const auto held = mean_of_moves(guest, way);
      fmt::print(" {:.3f}, {:.3f}{} |", held.bytes / none.bytes, held.total / none.total,
                 held.switched ? "" : ", no end");
    }
    fmt::print("\n");
  }
}
