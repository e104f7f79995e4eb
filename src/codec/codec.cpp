// The registry of codecs, and their names and levels as text.
#include "codec/codec.h"

#include <fmt/core.h>

#include <array>
#include <charconv>

#include "codec/codecs.h"

namespace godwit {

namespace {

struct Entry {
  CodecInfo info;
  Result<std::unique_ptr<Encoder>> (*encoder)(int level) = nullptr;
  Result<std::unique_ptr<Decoder>> (*decoder)() = nullptr;
};

// Accelerations of lz4 over 64 and levels of zstd over 19 or below -7 gain nothing worth having on guest memory, nor
// does ISA-L's level 0, which knows one Huffman code only.
constexpr std::array kCodecs = {
    Entry{{CodecId::kRaw, "raw"}, nullptr, make_raw_decoder},
    Entry{{CodecId::kLz4, "lz4", 1, 64, "ACCELERATION"}, make_lz4_encoder, make_lz4_decoder},
    Entry{{CodecId::kZstd, "zstd", -7, 19}, make_zstd_encoder, make_zstd_decoder},
    Entry{{CodecId::kDeflate, "deflate", 1, 3}, make_deflate_encoder, make_deflate_decoder},
};
constexpr auto kInfos = [] {
  std::array<CodecInfo, kCodecs.size()> infos;
  for (std::size_t i = 0; i < infos.size(); ++i) infos[i] = kCodecs[i].info;
  return infos;
}();
constexpr int kDefaultLevel = 1;

struct DeviceName {
  CodecDevice device;
  std::string_view name;
};
constexpr std::array kDeviceNames = {DeviceName{CodecDevice::kQat, "qat"}, DeviceName{CodecDevice::kIaa, "iaa"}};

const Entry* find(CodecId id) noexcept {
  for (const Entry& entry : kCodecs) {
    if (entry.info.id == id) return &entry;
  }
  return nullptr;
}

/// "raw, lz4, lz4:ACCELERATION (1 to 64), zstd, zstd:LEVEL (-7 to 19, but not 0), ..."
std::string choices() {
  std::string text;
  for (const CodecInfo& codec : kInfos) {
    text += fmt::format("{}{}", text.empty() ? "" : ", ", codec.name);
    if (!codec.has_levels()) continue;
    text += fmt::format(", {}:{} ({} to {}{})", codec.name, codec.level_is, codec.lowest, codec.highest,
                        codec.lowest < 0 ? ", but not 0" : "");
  }
  for (const DeviceName& device : kDeviceNames) text += fmt::format(", {}", device.name);
  return text;
}

tl::unexpected<Error> no_such_codec(std::string_view text) {
  return fail(ErrorKind::kInvalidArgument, fmt::format("no codec \"{}\"; there are {}", text, choices()));
}

}  // namespace

std::span<const CodecInfo> codecs() noexcept {
  return kInfos;
}

std::string_view name_of(CodecId id) noexcept {
  const Entry* const entry = find(id);
  return entry != nullptr ? entry->info.name : "unknown";
}

Result<CodecChoice> parse_codec(std::string_view text) {
  const auto colon = text.find(':');
  const std::string_view name = text.substr(0, colon);
  for (const DeviceName& device : kDeviceNames) {
    if (device.name == text)
      return CodecChoice{.id = CodecId::kDeflate, .level = kDefaultLevel, .device = device.device};
  }
  for (const CodecInfo& codec : kInfos) {
    if (codec.name != name) continue;
    int level = kDefaultLevel;
    if (colon != std::string_view::npos) {
      const std::string_view digits = text.substr(colon + 1);
      const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), level);
      if (error != std::errc() || end != digits.data() + digits.size()) return no_such_codec(text);
      if (!codec.has_levels()) return no_such_codec(text);
    }
    if (!codec.has_level(level)) return no_such_codec(text);
    return CodecChoice{.id = codec.id, .level = level};
  }
  return no_such_codec(text);
}

std::string format_codec(const CodecChoice& choice) {
  for (const DeviceName& device : kDeviceNames) {
    if (device.device == choice.device) return std::string(device.name);
  }
  const Entry* const entry = find(choice.id);
  if (entry == nullptr || !entry->info.has_levels()) return std::string(name_of(choice.id));
  return fmt::format("{}:{}", entry->info.name, choice.level);
}

Result<std::unique_ptr<Encoder>> make_encoder(const CodecChoice& choice) {
  const Entry* const entry = find(choice.id);
  if (entry == nullptr) return no_such_codec(fmt::format("number {}", static_cast<unsigned>(choice.id)));
  if (entry->encoder == nullptr) return std::unique_ptr<Encoder>();
  if (!entry->info.has_level(choice.level)) return no_such_codec(format_codec(choice));
  return entry->encoder(choice.level);
}

Result<std::unique_ptr<Decoder>> make_decoder(CodecId id) {
  const Entry* const entry = find(id);
  if (entry == nullptr) {
    return fail(ErrorKind::kProtocol, fmt::format("no codec has the number {}", static_cast<unsigned>(id)));
  }
  return entry->decoder();
}

}  // namespace godwit
