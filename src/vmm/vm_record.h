// What a hypervisor's driver writes down while it works on a VM, for whoever comes after it if this engine dies.
//
// The driver alone understands the texts; the engine keeps them (engine/journal.h) and gives them back.
#pragma once

#include <string_view>

#include "base/result.h"

namespace godwit {

/// Longest texts that are kept. A QEMU's settings have some 2 KiB, a mark some 300 bytes.
inline constexpr std::size_t kMostSettings = std::size_t{64} << 10;
inline constexpr std::size_t kMostMark = 800;

/// Any thread.
class VmRecord {
 public:
  virtual ~VmRecord() = default;
  /// Before the first of them is changed: the settings as they are. On an error nothing may be changed.
  virtual Status keep_settings(std::string_view settings) = 0;
  /// They are all as they were.
  virtual void settings_put_back() noexcept = 0;
  /// The guest has been seen paused, by this engine's doing. `mark` has no line breaks and tells this stop from any
  /// that others make; a later mark of the same stop, which tells it better, replaces it.
  virtual Status guest_stands(std::string_view mark) = 0;
};

}  // namespace godwit
