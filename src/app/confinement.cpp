#include "app/confinement.h"

#include <fmt/format.h>

#include <cstring>

#include "app/say.h"
#include "base/denied_calls.h"
#include "base/every_thread.h"

namespace godwit {

namespace {

/// Of whatever looks into QEMU: its memory and threads by ptrace's rules as long as it works, and what belongs to its
/// user: the monitor's socket, files, /proc/PID.
constexpr CapabilitySet kLooksIntoQemu(Capability::kSysPtrace, Capability::kDacOverride);

void limit(CapabilitySet kept) {
  if (const Status limited = limit_every_thread(kept); !limited) {
    say_note(fmt::format("godwit keeps rights that it does not need: {}", limited.error().message));
  }
}

}  // namespace

NeededRights rights_of_send(bool by_ssh) {
  const CapabilitySet at_work = by_ssh ? kLooksIntoQemu.with(Capability::kKill) : kLooksIntoQemu;
  return {at_work.with(Capability::kSysAdmin).with(Capability::kCheckpointRestore), at_work};
}

NeededRights rights_of_receive() {
  // RAM files are opened when the source has said which; and a QEMU that does not end by itself is killed.
  const CapabilitySet at_work = kLooksIntoQemu.with(Capability::kCheckpointRestore).with(Capability::kKill);
  return {at_work.with(Capability::kNetBindService), at_work};
}

NeededRights rights_of_probe() {
  return rights_of_send(false);
}

void limit_to_open(const NeededRights& rights) {
  limit(rights.to_open);
}

void limit_at_work(const NeededRights& rights) {
  limit(rights.at_work);
  if (const int number = deny_calls(); number != 0) {
    say_note(fmt::format("godwit runs without a seccomp filter of its own: {}", std::strerror(number)));
  }
}

}  // namespace godwit
