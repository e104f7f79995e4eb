// Guest RAM of two QEMUs, compared page by page from outside.
//
// What was never touched counts as zeros and is not touched by looking: files are read at their offsets around their
// holes, anonymous memory only where /proc/PID/pagemap says that there is something.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/support/qemu_vm.h"

namespace godwit::testing {

struct RamDifference {
  std::string block;
  std::uint64_t offset = 0;  ///< of the page in its block
};

struct RamComparison {
  std::uint64_t pages = 0;            ///< compared, all RAM
  std::uint64_t pages_with_data = 0;  ///< of them, not a hole on both sides
  std::uint64_t pages_different = 0;
  std::vector<RamDifference> first;  ///< at most 16

  bool equal() const noexcept { return pages > 0 && pages_different == 0; }
  std::string describe() const;
};

/// Both guests must be paused. Main memory only; blocks are matched by their order (a name depends on the backend).
Result<RamComparison> compare_ram(const TestQemu& a, const TestQemu& b);

/// Bytes of guest RAM that take up memory.
Result<std::uint64_t> present_bytes(const TestQemu& qemu);

}  // namespace godwit::testing
