#include "wire/fingerprint_parts.h"

#include <nlohmann/json.hpp>

#include "wire/json_fields.h"
#include "wire/limits.h"

namespace godwit::wire {
namespace {

using nlohmann::json;
using Texts = std::map<std::string, std::string>;

Result<Texts> read_texts(const json& object, const std::string& key, std::size_t limit) {
  Texts texts;
  const json* found = TRY(object_field_if(object, key, limit));
  if (found == nullptr) return texts;
  for (const auto& [name, value] : found->items()) {
    if (name.size() > kMaxNameBytes)
      return fail(ErrorKind::kProtocol, "malformed JSON: a name in '" + key + "' is too long");
    texts[name] = TRY_IN(key, text_field(*found, name, kMaxNameBytes));
  }
  return texts;
}

/// Calls `read` for each object of an array that may be missing.
template <typename Read>
Status for_each_object(const json& object, const std::string& key, std::size_t limit, Read read) {
  const json* found = TRY(array_field_if(object, key, limit));
  if (found == nullptr) return {};
  for (const json& one : *found) {
    if (!one.is_object())
      return fail(ErrorKind::kProtocol, "malformed JSON: an entry of '" + key + "' is not an object");
    if (Status status = read(one); !status) return fail(std::move(status).error().in(key));
  }
  return {};
}

Status read_topology(const json& object, Fingerprint& fingerprint) {
  const json* topology = TRY(object_field_if(object, "topology", kMaxProperties));
  if (topology != nullptr) {
    for (const auto& [name, value] : topology->items()) {
      if (name.size() > kMaxNameBytes)
        return fail(ErrorKind::kProtocol, "malformed JSON: a name in 'topology' is too long");
      fingerprint.topology[name] = TRY_IN("topology", number_field<std::uint32_t>(*topology, name));
    }
  }
  const json* places = TRY(array_field_if(object, "cpu_places", kMaxCpuPlaces));
  if (places == nullptr) return {};
  for (const json& place : *places) {
    if (!place.is_string() || place.get_ref<const std::string&>().size() > kMaxNameBytes) {
      return fail(ErrorKind::kProtocol, "malformed JSON: an entry of 'cpu_places' is not a string, or too long");
    }
    fingerprint.cpu_places.push_back(place.get<std::string>());
  }
  return {};
}

Status read_memory(const json& one, Fingerprint::Memory& block) {
  block.name = TRY(text_field(one, "name", kMaxNameBytes));
  block.size = TRY(number_field<std::uint64_t>(one, "size"));
  block.most = TRY(number_field<std::uint64_t>(one, "most"));
  return {};
}

Status read_device(const json& one, Device& device) {
  device.place = TRY(text_field(one, "place", kMaxNameBytes));
  device.type = TRY(text_field(one, "type", kMaxNameBytes));
  device.id = TRY(text_field_or(one, "id", kMaxNameBytes, ""));
  device.properties = TRY(read_texts(one, "properties", kMaxProperties));
  return {};
}

}  // namespace

void add_machine(json& object, const Fingerprint& fingerprint) {
  const auto add = [&](const char* key, const auto& value) {
    if (!value.empty()) object[key] = value;
  };
  add("uuid", fingerprint.uuid);
  add("machine_alias", fingerprint.machine_alias);
  add("boot_id", fingerprint.boot_id);
  add("topology", fingerprint.topology);
  add("cpu_places", fingerprint.cpu_places);
  add("machine_properties", fingerprint.machine_properties);
  if (fingerprint.physical_bits != 0) object["physical_bits"] = fingerprint.physical_bits;
  for (const auto& block : fingerprint.memory) {
    object["memory"].push_back({{"name", block.name}, {"size", block.size}, {"most", block.most}});
  }
  for (const auto& device : fingerprint.devices) {
    json one = {{"place", device.place}, {"type", device.type}};
    if (!device.id.empty()) one["id"] = device.id;
    if (!device.properties.empty()) one["properties"] = device.properties;
    object["devices"].push_back(std::move(one));
  }
}

Status read_machine(const json& object, Fingerprint& fingerprint) {
  fingerprint.uuid = TRY(text_field_or(object, "uuid", kMaxNameBytes, ""));
  fingerprint.machine_alias = TRY(text_field_or(object, "machine_alias", kMaxNameBytes, ""));
  fingerprint.boot_id = TRY(text_field_or(object, "boot_id", kMaxNameBytes, ""));
  fingerprint.physical_bits = static_cast<unsigned>(TRY(number_field_or(object, "physical_bits", 255, 0)));
  fingerprint.machine_properties = TRY(read_texts(object, "machine_properties", kMaxProperties));
  TRY(read_topology(object, fingerprint));
  TRY(for_each_object(object, "memory", kMaxBlocks,
                      [&](const json& one) { return read_memory(one, fingerprint.memory.emplace_back()); }));
  return for_each_object(object, "devices", kMaxDevices,
                         [&](const json& one) { return read_device(one, fingerprint.devices.emplace_back()); });
}

}  // namespace godwit::wire
