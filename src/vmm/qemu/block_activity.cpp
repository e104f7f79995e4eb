#include "vmm/qemu/block_activity.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

Status look_at_jobs(Qmp& qmp, std::vector<Obstacle>& out) {
  const Json jobs = TRY(query_array(qmp, "query-jobs"));
  for (const Json& job : jobs) {
    const std::string status = text_at(job, "status");
    if (status == "concluded" || status == "null") continue;  // it waits only to be dismissed
    const std::string id = text_at(job, "id");
    out.push_back(
        {fmt::format("job '{}' ({}, {})", id, text_at(job, "type"), status),
         fmt::format("it would be left behind; wait until it has ended, or cancel it (job-cancel id={})", id)});
  }
  return {};
}

/// The names of the block backends that belong to the guest's drives.
Result<std::set<std::string>> names_of_drives(Qmp& qmp) {
  const Json drives = TRY(query_array(qmp, "query-block"));
  std::set<std::string> names;
  for (const Json& drive : drives) {
    names.insert(text_at(drive, "device"));
    names.insert(text_at(drive, "qdev"));
  }
  names.erase("");
  return names;
}

bool may_write(const Json& edge) {
  const Json& permissions = member(edge, "perm");
  return permissions.is_array() && std::any_of(permissions.begin(), permissions.end(), [](const Json& permission) {
           return permission == "write" || permission == "resize";
         });
}

/// The nodes that something writes that is neither a drive of the guest nor another node. QEMU does not say of an
/// export whether it is writable; but an export of such a node is, or another one of the same node is.
Result<std::set<std::string>> nodes_written_by_others(Qmp& qmp, const Json& graph) {
  const auto drives = TRY(names_of_drives(qmp));
  std::map<std::uint64_t, std::string> nodes;
  std::set<std::uint64_t> others;
  for (const Json& node : member(graph, "nodes")) {
    const std::string name = text_at(node, "name");
    const std::string type = text_at(node, "type");
    if (type == "block-driver") nodes.emplace(number_at(node, "id"), name);
    if (type == "block-backend" && !drives.contains(name)) others.insert(number_at(node, "id"));
  }
  std::set<std::string> written;
  for (const Json& edge : member(graph, "edges")) {
    if (!others.contains(number_at(edge, "parent")) || !may_write(edge)) continue;
    const auto node = nodes.find(number_at(edge, "child"));
    if (node != nodes.end()) written.insert(node->second);
  }
  return written;
}

Status look_at_exports(Qmp& qmp, std::vector<Obstacle>& out) {
  const Json exports = TRY(query_array(qmp, "query-block-exports"));
  if (exports.empty()) return {};
  auto graph = qmp.execute("x-debug-query-block-graph");
  std::set<std::string> written;
  if (graph) written = TRY(nodes_written_by_others(qmp, *graph));
  for (const Json& one : exports) {
    const std::string node = text_at(one, "node-name");
    if (graph && !written.contains(node)) continue;
    const std::string id = text_at(one, "id");
    out.push_back({fmt::format("{} export '{}' of block node '{}'", text_at(one, "type"), id, node),
                   fmt::format("{}; remove it (block-export-del id={})",
                               graph ? "others can write to the disk through it"
                                     : "QEMU does not say whether others can write through it",
                               id)});
  }
  return {};
}

/// Whether this QEMU can leave inactive what is inactive already: those that can say so.
bool tells_of_activity(const Json& nodes) {
  return std::any_of(nodes.begin(), nodes.end(), [](const Json& node) { return !member(node, "active").is_null(); });
}

std::set<std::string> writable_nodes(const Json& nodes) {
  std::set<std::string> names;
  for (const Json& node : nodes) {
    if (!bool_at(node, "ro")) names.insert(text_at(node, "node-name"));
  }
  return names;
}

}  // namespace

Result<std::vector<Obstacle>> find_inactive_disks(Qmp& qmp) {
  std::vector<Obstacle> out;
  const Json nodes = TRY(query_array(qmp, "query-named-block-nodes"));
  if (nodes.empty() || tells_of_activity(nodes)) return out;
  const Json graph = TRY(qmp.execute("x-debug-query-block-graph"));
  const auto writable = writable_nodes(nodes);
  const auto drives = TRY(names_of_drives(qmp));
  std::map<std::uint64_t, std::string> names;
  for (const Json& node : member(graph, "nodes")) names[number_at(node, "id")] = text_at(node, "name");
  for (const Json& edge : member(graph, "edges")) {
    const std::string drive = names[number_at(edge, "parent")];
    if (!drives.contains(drive) || !writable.contains(names[number_at(edge, "child")]) || may_write(edge)) continue;
    out.push_back({fmt::format("disk '{}' of a VM that arrived here paused", drive),
                   "this QEMU would abort if it were moved on before it has run; type `cont` and `stop` in its monitor "
                   "first"});
  }
  return out;
}

Result<std::vector<Obstacle>> find_block_activity(Qmp& qmp) {
  std::vector<Obstacle> out;
  TRY(look_at_jobs(qmp, out));
  TRY(look_at_exports(qmp, out));
  return out;
}

}  // namespace godwit::qemu
