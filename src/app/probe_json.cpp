#include "app/probe_json.h"

#include <nlohmann/json.hpp>

namespace godwit {

namespace {

using Json = nlohmann::ordered_json;

Json json_of(const std::vector<AcceleratorDevice>& devices) {
  Json list = Json::array();
  for (const AcceleratorDevice& device : devices) {
    list.push_back(Json{{"name", device.name},
                        {"driver", device.driver},
                        {"numa_node", device.numa_node ? Json(*device.numa_node) : Json()},
                        {"state", device.state},
                        {"shares_addresses", device.shares_addresses},
                        {"to_do", device.to_do}});
  }
  return list;
}

Json json_of(const HostProfile& host) {
  return Json{{"kernel_release", host.kernel_release},
              {"kernel_major", host.kernel_major},
              {"kernel_minor", host.kernel_minor},
              {"cpu_model", host.cpu_model},
              {"cpus", host.cpus},
              {"numa_nodes", host.numa_nodes},
              {"memory_bytes", host.memory_bytes},
              {"avx2", host.avx2},
              {"avx512", host.avx512},
              {"kvm", host.kvm},
              {"pagemap_scan", host.pagemap_scan},
              {"uffd_wp_async", host.uffd_wp_async},
              {"uffd_kernel_faults", host.uffd_kernel_faults},
              {"process_vm", host.process_vm},
              {"pidfd_getfd", host.pidfd_getfd},
              {"lsm_ptrace_scope", host.lsm_ptrace_scope},
              {"hugetlb_2m_total", host.hugetlb_2m_total},
              {"hugetlb_2m_free", host.hugetlb_2m_free},
              {"accelerators", host.accelerators},
              {"accelerator_devices", json_of(host.accelerator_devices)},
              {"data_movers", host.data_movers}};
}

Json json_of(const VmFindings& vm) {
  const qemu::Inspection& inspection = vm.inspection;
  Json blocks = Json::array();
  for (const auto& block : inspection.blocks) {
    blocks.push_back(Json{{"name", block.name},
                          {"bytes", block.size},
                          {"page_bytes", block.page_size},
                          {"backing", name_of(block.backing)},
                          {"reached_by", reached_by(block)}});
  }
  Json disks = Json::array();
  for (const auto& disk : inspection.direct_disks) {
    disks.push_back(Json{{"device", disk.device}, {"handled_by", handled_by(disk)}});
  }
  Json obstacles = Json::array();
  for (const auto& obstacle : inspection.obstacles) {
    obstacles.push_back(Json{{"what", obstacle.what}, {"why", obstacle.why}});
  }
  Json images = Json::array();
  for (const auto& disk : inspection.fingerprint.disks) {
    images.push_back(Json{{"name", disk.name},
                          {"place", disk.place},
                          {"file", disk.file},
                          {"format", disk.format},
                          {"bytes", disk.size},
                          {"storage", name_of(disk.storage)},
                          {"file_system", disk.file_system}});
  }
  return Json{{"pid", vm.pid},
              {"name", inspection.fingerprint.vm_name},
              {"status", inspection.status},
              {"machine", inspection.fingerprint.machine},
              {"cpu_model", inspection.fingerprint.cpu_model},
              {"cpus", inspection.fingerprint.cpus},
              {"accelerator", inspection.fingerprint.accelerator},
              {"qemu_version", inspection.fingerprint.version},
              {"uuid", inspection.uuid},
              {"blocks", std::move(blocks)},
              {"disks", std::move(images)},
              {"direct_disks", std::move(disks)},
              {"warnings", unsafe_caches(inspection.fingerprint.disks)},
              {"devices", name_of(vm.devices)},
              {"why_stream", vm.why_stream},
              {"tracker", vm.verdict.tracker},
              {"obstacles", std::move(obstacles)},
              {"notes", vm.notes},
              {"can_be_moved", vm.verdict.can_be_moved},
              {"reasons", vm.verdict.reasons}};
}

}  // namespace

std::string probe_json(const Findings& findings) {
  Json moves = Json::array();
  for (const LeftReport& move : findings.moves_by_ssh) {
    moves.push_back(Json{{"id", move.id},
                         {"vm_name", move.vm_name},
                         {"outcome", move.outcome},
                         {"error", move.error},
                         {"written", move.written},
                         {"file", move.file}});
  }
  Json lacks = Json::array();
  for (const Lack& lack : findings.lacks) lacks.push_back(Json{{"feature", lack.feature}, {"cost", lack.cost}});
  Json json{{"host", json_of(findings.host)},
            {"accelerators_tried", findings.accelerators_tried},
            {"lacks", std::move(lacks)},
            {"moves_by_ssh", std::move(moves)}};
  if (findings.vm) json["vm"] = json_of(*findings.vm);
  // Names come from a guest's configuration: what is not UTF-8 in them is replaced.
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace godwit
