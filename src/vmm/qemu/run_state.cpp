#include "vmm/qemu/run_state.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace godwit::qemu {
namespace {

struct Meaning {
  std::string_view state;
  Halt::Kind kind;
  const char* what;
};

constexpr std::array kMeanings = {
    Meaning{"paused", Halt::Kind::kPaused, "somebody has paused the guest (stop in QEMU's monitor, or a VM manager)"},
    Meaning{"prelaunch", Halt::Kind::kPaused, "the guest has not been started yet"},
    Meaning{"io-error", Halt::Kind::kPaused, "QEMU has paused the guest because of a disk error"},
    Meaning{"suspended", Halt::Kind::kPaused, "the guest has suspended itself to RAM"},
    Meaning{"watchdog", Halt::Kind::kPaused, "the guest's watchdog has paused it"},
    Meaning{"debug", Halt::Kind::kPaused, "a debugger has paused the guest"},
    Meaning{"finish-migrate", Halt::Kind::kPaused, "somebody else is moving or saving this VM"},
    Meaning{"postmigrate", Halt::Kind::kPaused,
            "somebody else has moved or saved this VM, or a move of it was given up while it was paused (if it is "
            "certainly nowhere "
            "else, `cont` and `stop` make it movable)"},
    Meaning{"inmigrate", Halt::Kind::kPaused, "this QEMU waits to take in a VM"},
    Meaning{"colo", Halt::Kind::kPaused, "QEMU is replicating this VM"},
    Meaning{"shutdown", Halt::Kind::kEnded, "the guest has shut down"},
    Meaning{"guest-panicked", Halt::Kind::kEnded, "the guest has panicked"},
    Meaning{"internal-error", Halt::Kind::kEnded, "the guest has crashed: QEMU cannot run its CPUs any more"},
};

}  // namespace

std::optional<Halt> halt_of(std::string_view run_state) {
  if (run_state == "running" || run_state == "save-vm" || run_state == "restore-vm") return std::nullopt;
  for (const auto& meaning : kMeanings) {
    if (meaning.state == run_state) return Halt{meaning.kind, meaning.what};
  }
  return Halt{Halt::Kind::kPaused, fmt::format("the guest does not run: QEMU says it is '{}'", run_state)};
}

bool keeps_suspension(std::string_view version) {
  constexpr unsigned kFirst = 9;
  unsigned major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  return major >= kFirst;
}

tl::unexpected<Error> cannot_move_suspended() {
  return fail(
      ErrorKind::kRefused,
      "the guest has suspended itself to RAM: it can be moved only where its devices go directly, with QEMU 9.0 "
      "or newer on both hosts; or wake it");
}

}  // namespace godwit::qemu
