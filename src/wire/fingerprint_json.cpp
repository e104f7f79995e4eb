#include "wire/fingerprint_json.h"

#include <nlohmann/json.hpp>

#include "wire/fingerprint_parts.h"
#include "wire/json_fields.h"
#include "wire/limits.h"

namespace godwit::wire {

using nlohmann::json;

json json_of(const Fingerprint& fingerprint) {
  json blocks = json::array();
  for (const auto& block : fingerprint.blocks) {
    blocks.push_back({{"name", block.name}, {"size", block.size}, {"page_size", block.page_size}});
  }
  json features = json::object();
  for (const auto& [name, bits] : fingerprint.cpu_features) features[name] = bits;
  json object = {{"hypervisor", fingerprint.hypervisor},
                 {"version", fingerprint.version},
                 {"vm_name", fingerprint.vm_name},
                 {"machine", fingerprint.machine},
                 {"accelerator", fingerprint.accelerator},
                 {"cpu_model", fingerprint.cpu_model},
                 {"cpu_features", std::move(features)},
                 {"cpus", fingerprint.cpus},
                 {"blocks", std::move(blocks)}};
  add_machine(object, fingerprint);
  add_disks(object, fingerprint.disks);
  return object;
}

Result<Fingerprint> fingerprint_of(const json& object) {
  const auto name = [&](const std::string& key) { return text_field(object, key, kMaxNameBytes); };
  Fingerprint fingerprint;
  fingerprint.hypervisor = TRY(name("hypervisor"));
  fingerprint.version = TRY(name("version"));
  fingerprint.vm_name = TRY(name("vm_name"));
  fingerprint.machine = TRY(name("machine"));
  fingerprint.accelerator = TRY(name("accelerator"));
  fingerprint.cpu_model = TRY(name("cpu_model"));
  fingerprint.cpus = TRY(number_field<std::uint32_t>(object, "cpus"));

  const json* features = TRY(object_field(object, "cpu_features", kMaxCpuFeatures));
  for (const auto& [key, value] : features->items()) {
    if (key.size() > kMaxNameBytes)
      return fail(ErrorKind::kProtocol, "malformed JSON: a CPU feature's name is too long");
    fingerprint.cpu_features[key] = TRY_IN("cpu_features", text_field(*features, key, kMaxNameBytes));
  }
  for (const json& block : *TRY(array_field(object, "blocks", kMaxBlocks))) {
    if (!block.is_object()) return fail(ErrorKind::kProtocol, "malformed JSON: a RAM block is not an object");
    Fingerprint::Block& read = fingerprint.blocks.emplace_back();
    read.name = TRY_IN("blocks", text_field(block, "name", kMaxNameBytes));
    read.size = TRY_IN("blocks", number_field<std::uint64_t>(block, "size"));
    read.page_size = TRY_IN("blocks", number_field<std::uint64_t>(block, "page_size"));
  }
  TRY(read_machine(object, fingerprint));
  fingerprint.disks = TRY(read_disks(object));
  return fingerprint;
}

std::string fingerprint_to_json(const Fingerprint& fingerprint) {
  return dump(json_of(fingerprint));
}

Result<Fingerprint> fingerprint_from_json(std::string_view text) {
  const json object = TRY(parse_object(text));
  return fingerprint_of(object);
}

}  // namespace godwit::wire
