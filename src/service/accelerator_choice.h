// Which accelerators can be used here, in words.
#pragma once

#include <string>
#include <vector>

#include "codec/accelerator.h"
#include "host/accelerator_devices.h"

namespace godwit {

/// For open_accelerator(): with what the kernel shows of the host's devices.
AcceleratorSetting setting_of(CodecDevice device, bool decodes, const std::vector<AcceleratorDevice>& devices);

/// Opens each, lets it encode a block, and closes it again: "--codec qat works: ...", "--codec iaa does not work: ...".
std::vector<std::string> try_accelerators(const std::vector<AcceleratorDevice>& devices);

}  // namespace godwit
