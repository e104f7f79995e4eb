#include "service/accelerator_choice.h"

#include <fmt/format.h>

#include "codec/accelerator.h"

namespace godwit {

std::vector<std::string> try_accelerators() {
  std::vector<std::string> tried;
  for (const CodecDevice device : {CodecDevice::kQat, CodecDevice::kIaa}) {
    const std::string name = format_codec({.id = CodecId::kDeflate, .device = device});
    const auto opened = open_accelerator(device, false);
    tried.push_back(opened ? fmt::format("--codec {} works: {}", name, (*opened)->facts().text())
                           : fmt::format("--codec {} does not work: {}", name, opened.error().message));
  }
  return tried;
}

}  // namespace godwit
