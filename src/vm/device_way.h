// How the device state gets out of the source's hypervisor and into the sink's.
#pragma once

#include <string_view>

namespace godwit {

enum class DeviceWay {
  kStream,  ///< by its own migration, which sends RAM besides main memory too
  kDirect,  ///< saved at the engine's word: all RAM is the engine's to move
};

inline std::string_view name_of(DeviceWay way) noexcept {  ///< "stream", "direct"
  return way == DeviceWay::kDirect ? "direct" : "stream";
}

}  // namespace godwit
