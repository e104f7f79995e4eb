// What a probe found, as values: this host, what it lacks, and the VM with a verdict. No I/O here.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "app/left_report.h"
#include "host/host_profile.h"
#include "vm/device_way.h"
#include "vmm/qemu/inspection.h"

namespace godwit {

/// Something that this host cannot do, and what that costs.
struct Lack {
  std::string feature;
  std::string cost;
};

/// Whether `godwit send` would move the VM; by the same checks.
struct Verdict {
  bool can_be_moved = false;
  std::vector<std::string> reasons;  ///< why not; obstacles are counted here and named in the inspection
  std::string tracker;               ///< what would track the guest's writes; "none"
};

struct VmFindings {
  pid_t pid = 0;
  qemu::Inspection inspection;
  DeviceWay devices = DeviceWay::kStream;  ///< how they would go, as far as this side can tell
  std::string why_stream;                  ///< why not directly, as a phrase
  std::vector<std::string> notes;          ///< what a dead engine had left, and what became of it
  Verdict verdict;
};

struct Findings {
  HostProfile host;
  std::vector<Lack> lacks;
  std::vector<std::string> accelerators_tried;  ///< "qat: ...": what it is, or why it cannot be used
  std::vector<LeftReport> moves_by_ssh;         ///< that have ended here, the newest first
  std::optional<VmFindings> vm;
};

std::vector<Lack> lacks_of(const HostProfile& host);

/// `moved_away`: a committed move has left this VM here (service/recover.h).
Verdict judge(const HostProfile& host, const qemu::Inspection& inspection, bool moved_away);

/// How the lanes read a block, in words.
std::string reached_by(const qemu::BlockInfo& block);
/// How writes of this disk past the page tables are accounted for, in words.
std::string handled_by(const qemu::DirectDisk& disk);

}  // namespace godwit
