#include "service/accelerator_choice.h"

#include <fmt/format.h>

namespace godwit {

AcceleratorSetting setting_of(CodecDevice device, bool decodes, const std::vector<AcceleratorDevice>& devices) {
  AcceleratorSetting setting{.decodes = decodes};
  unsigned virtual_functions = 0;
  for (const AcceleratorDevice& one : devices) {
    if (one.name.starts_with("qat") != (device == CodecDevice::kQat)) continue;
    ++(one.driver == "vfio-pci" ? virtual_functions : setting.devices);
    setting.queue_entries += one.queue_entries;
  }
  // A virtual machine that has been given some has nothing else.
  if (setting.devices == 0) setting.devices = virtual_functions;
  return setting;
}

std::vector<std::string> try_accelerators(const std::vector<AcceleratorDevice>& devices) {
  std::vector<std::string> tried;
  for (const CodecDevice device : {CodecDevice::kQat, CodecDevice::kIaa}) {
    const std::string name = format_codec({.id = CodecId::kDeflate, .device = device});
    const auto opened = open_accelerator(device, setting_of(device, false, devices));
    tried.push_back(opened ? fmt::format("--codec {} works: {}", name, (*opened)->facts().text())
                           : fmt::format("--codec {} does not work: {}", name, opened.error().message));
  }
  return tried;
}

}  // namespace godwit
