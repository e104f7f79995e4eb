#include "codec/accelerator.h"

#include <fmt/format.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <vector>

namespace godwit {

namespace {

// As a chunk: more than any device takes at once of a stream, and more than 4 KiB back there is something to find.
constexpr std::size_t kTriedBlock = 256 * 1024;

/// Text that repeats at a distance of some 8 KiB, so that a device that looks farther back than it may is found out.
std::vector<std::byte> block_to_try() {
  std::vector<std::byte> block(kTriedBlock);
  std::uint32_t word = 1;
  for (std::size_t at = 0; at < 8192; at += sizeof word) {
    word = word * 1664525 + 1013904223;
    const std::uint32_t letter = 0x20202020 | (word & 0x0f1f0f1f);
    std::memcpy(block.data() + at, &letter, sizeof letter);
  }
  for (std::size_t at = 8192; at < block.size(); at += 8192) std::memcpy(block.data() + at, block.data(), 8192);
  return block;
}

// Other processes may use the device.
constexpr int kTriesOfABusyDevice = 20;

Result<std::size_t> done_by(DeviceQueue& queue, const DeviceJob& job, int tries = kTriesOfABusyDevice) {
  std::array<DeviceDone, 1> done;
  if (TRY(queue.submit({&job, 1})) != 1) return fail(ErrorKind::kUnsupported, "it takes no request");
  const std::size_t answers = TRY(queue.collect(done, {}));
  if (answers == 1 && !done[0].broken.empty()) return fail(ErrorKind::kUnsupported, done[0].broken);
  if (answers == 1 && done[0].failed && done[0].busy && tries > 1) return done_by(queue, job, tries - 1);
  if (answers != 1 || done[0].failed) {
    return fail(ErrorKind::kUnsupported, done[0].busy ? "it is busy" : "its first request failed");
  }
  return done[0].size;
}

std::string from_environment(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::string name_of_device(const char* name, const std::string& model) {
  return model.empty() ? name : fmt::format("{} (MODEL)", name);
}

std::string AcceleratorFacts::name_of_codec(const std::string& codec) const {
  return codec == name.substr(0, name.find(' ')) ? name : codec;
}

std::string AcceleratorFacts::text(const AcceleratorUse& use) const {
  std::string out = name;
  if (!model.empty()) out += fmt::format(", a MODEL and no device: {}", model);
  if (devices > 0) out += fmt::format(", {} {}", devices, devices == 1 ? "device" : "devices");
  if (instances > 0) out += fmt::format(", {} {}", instances, instances == 1 ? "instance" : "instances");
  out += direct ? ", direct access" : ", copied";
  if (use.in_place > 0) {
    out += fmt::format(" {} guest RAM for {} {}", direct ? "to" : "from", use.in_place,
                       use.in_place == 1 ? "block" : "blocks");
  }
  if (use.changed > 0) out += fmt::format(", {} more written to meanwhile", use.changed);
  return out + fmt::format(" ({})", library);
}

Status try_accelerator(Accelerator& accelerator, bool decodes) {
  const auto queue = TRY(accelerator.queue());
  const std::vector<std::byte> block = block_to_try();
  std::vector<std::byte> wire(block.size());
  std::vector<std::byte> back(block.size());
  const DeviceJob encode{.ticket = 1, .input = block, .output = wire};
  if (!decodes) {
    const std::size_t size = TRY(done_by(*queue, encode));
    if (size == 0) return fail(ErrorKind::kUnsupported, "it does not make text smaller");
    // By the library that most destinations decode with.
    const auto decoder = TRY(make_decoder(CodecId::kDeflate));
    const Status decoded = decoder->decode(Bytes(wire).first(size), back);
    if (decoded && back == block) return {};
    return fail(ErrorKind::kUnsupported, fmt::format("what it encodes cannot be decoded here: {}",
                                                     decoded ? "it is another block" : decoded.error().message));
  }
  const auto encoder = TRY(make_encoder({.id = CodecId::kDeflate, .level = 1}));
  const EncodeJob job{.ticket = 1, .input = block, .output = wire};
  std::array<EncodeDone, 1> done;
  if (TRY(encoder->submit({&job, 1})) != 1 || TRY(encoder->collect(done, {})) != 1) {
    return fail(ErrorKind::kIo, "the CPU has not encoded the block that it is to be tried with");
  }
  const Bytes encoded = Bytes(wire).first(done[0].size);
  const std::size_t length = TRY(done_by(*queue, {.ticket = 2, .input = encoded, .output = back, .decodes = true}));
  if (length == back.size() && back == block) return {};
  return fail(ErrorKind::kUnsupported, "what it decodes is another block");
}

Result<std::unique_ptr<Accelerator>> open_accelerator(CodecDevice device, AcceleratorSetting setting) {
  const char* const variable = device == CodecDevice::kQat ? "GODWIT_QATZIP" : "GODWIT_QPL";
  if (setting.library.empty()) setting.library = from_environment(variable);
  switch (device) {
    case CodecDevice::kQat:
      return open_qat(setting);
    case CodecDevice::kIaa:
      return open_iaa(setting);
    case CodecDevice::kCpu:
      break;
  }
  return fail(ErrorKind::kInvalidArgument, "no device was asked for");
}

}  // namespace godwit
