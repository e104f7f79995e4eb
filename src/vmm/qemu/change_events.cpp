#include "vmm/qemu/change_events.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {

std::string change_told_by(std::string_view event, const Json& data) {
  if (event == "JOB_STATUS_CHANGE") {
    // Jobs that have ended and wait to be dismissed do nothing any more.
    const std::string status = text_at(data, "status");
    if (status == "concluded" || status == "null") return {};
    return fmt::format("job '{}' has been started", text_at(data, "id"));
  }
  if (event == "DEVICE_DELETED") {
    const std::string name = text_at(data, "device");
    return fmt::format("device '{}' has been removed", name.empty() ? text_at(data, "path") : name);
  }
  if (event == "MEMORY_DEVICE_SIZE_CHANGE") {
    return fmt::format("memory device '{}' has been resized", text_at(data, "id"));
  }
  return {};
}

}  // namespace godwit::qemu
