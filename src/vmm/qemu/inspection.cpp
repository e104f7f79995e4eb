// Puts together what the other files of this folder find out, and opens the RAM that was found.
#include "vmm/qemu/inspection.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/small_files.h"
#include "memory/block_memory.h"
#include "vmm/qemu/disk_images.h"
#include "vmm/qemu/disks.h"
#include "vmm/qemu/json_access.h"
#include "vmm/qemu/obstacles.h"
#include "vmm/qemu/ram_blocks.h"
#include "vmm/qemu/read_fingerprint.h"

namespace godwit::qemu {
namespace {

Result<std::unique_ptr<BlockAccess>> open_block(const RemoteProcess& process, const BlockInfo& block) {
  if (block.backing == Backing::kPrivate) {
    return open_process_block(process.pid(), block.address, block.size, TRY(process.open_pagemap()));
  }
  UniqueFd file = TRY(process.open_backing_file(block.mapping));
  const std::uint64_t offset = block.mapping.offset + (block.address - block.mapping.start);
  std::optional<PayingProcess> payer;
  if (charged_elsewhere(process.pid())) {
    UniqueFd pidfd(::fcntl(process.pidfd(), F_DUPFD_CLOEXEC, 0));
    if (!pidfd) return fail_os("copy the pidfd of QEMU");
    payer = PayingProcess{process.pid(), block.address, std::make_shared<const UniqueFd>(std::move(pidfd))};
  }
  return open_file_block(std::move(file), offset, block.size, block.page_size, payer);
}

}  // namespace

std::string_view name_of(Backing backing) noexcept {
  switch (backing) {
    case Backing::kFile:
      return "file";
    case Backing::kMemfd:
      return "memfd";
    case Backing::kPrivate:
      return "private";
  }
  return "unknown";
}

Result<Inspection> inspect(Qmp& qmp, const RemoteProcess& process) {
  Inspection found;
  Ram ram = TRY(find_ram(qmp, process));
  found.fingerprint = TRY(read_fingerprint(qmp));
  found.status = text_at(TRY(qmp.execute("query-status")), "status");
  found.migration_status = text_at(TRY(qmp.execute("query-migrate")), "status");
  if (found.migration_status.empty()) found.migration_status = "none";
  found.uuid = text_at(TRY(qmp.execute("query-uuid")), "UUID");
  found.obstacles = TRY(find_obstacles(qmp, process, ram));
  // QEMU answers with an error where there is no balloon.
  found.gives_memory_back = qmp.execute("query-balloon").has_value();
  found.direct_disks = TRY(find_direct_disks(qmp));
  found.configuration = TRY(read_configuration(qmp));
  found.fingerprint.disks = TRY(list_disks(qmp, process));
  found.fingerprint.boot_id = boot_id();
  for (const auto& block : ram.blocks) {
    found.fingerprint.blocks.push_back({block.name, block.size, block.page_size});
  }
  found.other = TRY(find_other_blocks(qmp, process, ram));
  found.blocks = std::move(ram.blocks);
  found.physical = std::move(ram.physical);
  return found;
}

Result<std::unique_ptr<GuestMemory>> open_memory(const RemoteProcess& process, const std::vector<BlockInfo>& blocks) {
  std::vector<RamBlock> named;
  std::vector<std::unique_ptr<BlockAccess>> opened;
  for (const auto& block : blocks) {
    RamBlock one;
    one.name = block.name;
    one.size = block.size;
    one.page_size = block.page_size;
    named.push_back(std::move(one));
    opened.push_back(TRY_IN(fmt::format("RAM block '{}'", block.name), open_block(process, block)));
  }
  auto memory = join_blocks(TRY(RamLayout::make(std::move(named))), std::move(opened));
  if (!memory) return fail(ErrorKind::kInvalidArgument, "RAM blocks do not fit their layout");
  return memory;
}

}  // namespace godwit::qemu
