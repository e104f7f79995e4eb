#include "vmm/vm_size.h"

#include <fmt/format.h>

#include <string_view>

#include "base/limits.h"

namespace godwit {

Status check_size(const Fingerprint& vm) {
  const struct {
    std::string_view what;
    std::size_t has;
    std::size_t most;
  } counts[] = {
      {"vCPUs", vm.cpus, most::kCpus},
      {"vCPUs", vm.cpu_places.size(), most::kCpus},
      {"RAM blocks of main memory", vm.blocks.size(), most::kRamBlocks},
      {"RAM blocks", vm.memory.size(), most::kRamBlocks},
      {"devices", vm.devices.size(), most::kDevices},
      {"disks", vm.disks.size(), most::kDisks},
  };
  for (const auto& count : counts) {
    if (count.has <= count.most) continue;
    return fail(ErrorKind::kUnsupported,
                fmt::format("this VM has more than {} {}, too many for Godwit", count.most, count.what));
  }
  std::uint64_t left = most::kRam;
  for (const Fingerprint::Block& block : vm.blocks) {
    if (block.size > left)
      return fail(ErrorKind::kUnsupported, "this VM has 1 PiB of RAM or more, too much for Godwit");
    left -= block.size;
  }
  return {};
}

}  // namespace godwit
