#include "app/probe_findings.h"

#include <fmt/format.h>

#include "service/wiring.h"

namespace godwit {

namespace {

void add_if(bool missing, std::vector<Lack>& lacks, std::string feature, std::string cost) {
  if (missing) lacks.push_back({std::move(feature), std::move(cost)});
}

}  // namespace

std::vector<Lack> lacks_of(const HostProfile& host) {
  std::vector<Lack> lacks;
  const bool tracks = host.pagemap_scan && host.uffd_wp_async;
  add_if(!tracks, lacks, "dirty tracking from outside (Linux 6.7)",
         "no VM can be moved away from this host; it can receive");
  add_if(!host.pidfd_getfd, lacks, "pidfd_getfd (Linux 5.6)",
         "QEMU's descriptors cannot be duplicated: no dirty tracking");
  add_if(!host.process_vm, lacks, "process_vm_readv",
         "VMs with private RAM (plain -m) cannot be moved; shared RAM can");
  add_if(host.lsm_ptrace_scope == "3", lacks, "ptrace (yama's ptrace_scope is 3)",
         "QEMU cannot be traced, even by root: no dirty tracking");
  add_if(!host.uffd_kernel_faults, lacks, "userfaultfd for faults in the kernel",
         "nothing for moves as they are; a post-copy destination would need it");
  add_if(!host.kvm, lacks, "KVM", "VMs run under TCG only, many times slower");
  add_if(!host.avx2 && !host.avx512, lacks, "AVX2", "looking for zero pages takes more CPU time");
  return lacks;
}

Verdict judge(const HostProfile& host, const qemu::Inspection& inspection, bool moved_away) {
  Verdict verdict;
  const Status host_fits = check_source_host(host);
  const Status vm_fits = check_source_vm(inspection);
  verdict.tracker = host_fits ? "asynchronous userfaultfd write-protect with PAGEMAP_SCAN" : "none";
  verdict.can_be_moved = host_fits && vm_fits && !moved_away;
  if (moved_away) verdict.reasons.push_back("this VM has been moved away: it must never run here again");
  if (!host_fits) verdict.reasons.push_back(host_fits.error().message);
  if (inspection.status == "inmigrate") {
    verdict.reasons.push_back("it waits to take in a VM: use `godwit receive`");
  } else if (!vm_fits && inspection.status != "running") {
    verdict.reasons.push_back(vm_fits.error().message);
  }
  if (const auto count = inspection.obstacles.size(); count > 0) {
    verdict.reasons.push_back(count == 1 ? std::string("the obstacle named above")
                                         : fmt::format("the {} obstacles named above", count));
  }
  return verdict;
}

std::string reached_by(const qemu::BlockInfo& block) {
  switch (block.backing) {
    case qemu::Backing::kFile:
      return "a mapping of the same file, " + block.mapping.path;
    case qemu::Backing::kMemfd:
      return "a mapping of QEMU's memfd";
    case qemu::Backing::kPrivate:
      return "process_vm_readv";
  }
  return "unknown";
}

std::string handled_by(const qemu::DirectDisk& disk) {
  return disk.readable_rings ? "its requests in flight are read from its queues at each harvest"
                             : "its requests cannot be seen: the guest is paused for a moment at each harvest";
}

}  // namespace godwit
