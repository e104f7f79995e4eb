#include "wire/fingerprint_parts.h"

#include <nlohmann/json.hpp>

#include "wire/json_fields.h"
#include "wire/limits.h"

namespace godwit::wire {
namespace {

using nlohmann::json;

constexpr std::uint64_t kAnyNumber = ~std::uint64_t{0};

json json_of(const Disk& disk) {
  json one = {{"name", disk.name}, {"size", disk.size}};
  const auto add = [&](const char* key, const std::string& text, std::size_t limit) {
    if (!text.empty()) one[key] = clip(text, limit);
  };
  add("place", disk.place, kMaxNameBytes);
  add("node", disk.node, kMaxNameBytes);
  add("format", disk.format, kMaxNameBytes);
  add("file", disk.file, kMaxFileBytes);
  add("file_system", disk.file_system, kMaxNameBytes);
  add("block_id", disk.block_id, kMaxNameBytes);
  if (disk.storage != Storage::kUnknown) one["storage"] = name_of(disk.storage);
  const auto number = [&](const char* key, std::uint64_t value) {
    if (value != 0) one[key] = value;
  };
  number("device", disk.device);
  number("inode", disk.inode);
  number("sample_key", disk.sample_key);
  const auto flag = [&](const char* key, bool value, bool usual) {
    if (value != usual) one[key] = value;
  };
  flag("inserted", disk.inserted, true);
  flag("read_only", disk.read_only, false);
  flag("firmware", disk.firmware, false);
  flag("direct", disk.direct, false);
  flag("no_flush", disk.no_flush, false);
  flag("silent", disk.silent, false);
  for (const auto& sample : disk.samples) {
    one["samples"].push_back({{"offset", sample.offset}, {"hash", sample.hash}});
  }
  if (!disk.layers_told) return one;
  one["layers"] = json::array();
  for (const Disk& layer : disk.layers) one["layers"].push_back(json_of(layer));
  return one;
}

enum class With { kLayers, kNoLayers };

Status read_layers(const json& one, Disk& disk);

Result<Disk> disk_of(const json& one, With with) {
  const auto text = [&](const char* key, std::size_t limit) { return text_field_or(one, key, limit, ""); };
  const auto number = [&](const char* key) { return number_field_or(one, key, kAnyNumber, 0); };
  Disk disk;
  disk.name = TRY(text_field(one, "name", kMaxNameBytes));
  disk.size = TRY(number_field<std::uint64_t>(one, "size"));
  disk.place = TRY(text("place", kMaxNameBytes));
  disk.node = TRY(text("node", kMaxNameBytes));
  disk.format = TRY(text("format", kMaxNameBytes));
  disk.file = TRY(text("file", kMaxFileBytes));
  disk.file_system = TRY(text("file_system", kMaxNameBytes));
  disk.block_id = TRY(text("block_id", kMaxNameBytes));
  disk.storage = storage_by_name(TRY(text("storage", kMaxNameBytes)));
  disk.device = TRY(number("device"));
  disk.inode = TRY(number("inode"));
  disk.sample_key = TRY(number("sample_key"));
  disk.inserted = TRY(flag_field_or(one, "inserted", true));
  disk.read_only = TRY(flag_field_or(one, "read_only", false));
  disk.firmware = TRY(flag_field_or(one, "firmware", false));
  disk.direct = TRY(flag_field_or(one, "direct", false));
  disk.no_flush = TRY(flag_field_or(one, "no_flush", false));
  disk.silent = TRY(flag_field_or(one, "silent", false));
  if (with == With::kLayers) TRY(read_layers(one, disk));
  const json* samples = TRY(array_field_if(one, "samples", kMaxSamples));
  if (samples == nullptr) return disk;
  for (const json& each : *samples) {
    if (!each.is_object()) return fail(ErrorKind::kProtocol, "malformed JSON: a sample is not an object");
    ImageSample& sample = disk.samples.emplace_back();
    sample.offset = TRY_IN("samples", number_field<std::uint64_t>(each, "offset"));
    sample.hash = TRY_IN("samples", number_field<std::uint64_t>(each, "hash"));
  }
  return disk;
}

/// Layers of a layer are none: what a peer nests has no end.
Status read_layers(const json& one, Disk& disk) {
  const json* layers = TRY(array_field_if(one, "layers", kMaxLayers));
  if (layers == nullptr) return {};
  disk.layers_told = true;
  for (const json& each : *layers) {
    if (!each.is_object()) return fail(ErrorKind::kProtocol, "malformed JSON: a layer is not an object");
    disk.layers.push_back(TRY_IN("layers", disk_of(each, With::kNoLayers)));
  }
  return {};
}

}  // namespace

void add_disks(json& object, const std::vector<Disk>& disks) {
  for (const auto& disk : disks) object["disks"].push_back(json_of(disk));
}

Result<std::vector<Disk>> read_disks(const json& object) {
  std::vector<Disk> disks;
  const json* found = TRY(array_field_if(object, "disks", kMaxDisks));
  if (found == nullptr) return disks;
  for (const json& one : *found) {
    if (!one.is_object()) return fail(ErrorKind::kProtocol, "malformed JSON: a disk is not an object");
    disks.push_back(TRY_IN("disks", disk_of(one, With::kLayers)));
  }
  return disks;
}

}  // namespace godwit::wire
