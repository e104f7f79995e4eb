// The exit codes of every godwit command: what a script may conclude about the VM.
#pragma once

#include <string_view>

#include "engine/report.h"

namespace godwit {

enum class ExitCode : int {
  kDone = 0,              ///< it was done
  kFailed = 1,            ///< it failed; the source VM runs on, or nothing had been started
  kUsage = 2,             ///< the command line is wrong; nothing was touched
  kInDoubt = 3,           ///< committed, but the destination did not confirm
  kSourceStopped = 4,     ///< it failed, and the source VM is paused
  kGuestEnded = 5,        ///< not moved: the guest, or its QEMU, has ended meanwhile
  kGuestPaused = 6,       ///< not moved: somebody else has paused the guest, and it stays paused
  kIncomplete = 7,        ///< the guest runs at the destination, and some of its memory is only at the source
  kWouldNotConverge = 8,  ///< forecast: a move would not come to an end within its bounds
};

constexpr int to_int(ExitCode code) noexcept {
  return static_cast<int>(code);
}

constexpr ExitCode exit_code_of(Outcome outcome) noexcept {
  switch (outcome) {
    case Outcome::kDone:
      return ExitCode::kDone;
    case Outcome::kSourceRuns:
      return ExitCode::kFailed;
    case Outcome::kSourceStopped:
      return ExitCode::kSourceStopped;
    case Outcome::kInDoubt:
      return ExitCode::kInDoubt;
    case Outcome::kGuestEnded:
      return ExitCode::kGuestEnded;
    case Outcome::kGuestPaused:
      return ExitCode::kGuestPaused;
    case Outcome::kIncomplete:
      return ExitCode::kIncomplete;
  }
  // A value outside the enumeration: say nothing about where the VM is.
  return ExitCode::kInDoubt;
}

/// The part of --help that explains them.
inline constexpr std::string_view kExitCodeHelp =
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed; the source VM runs on (or nothing had been started)\n"
    "  2  the command line is wrong; nothing was touched\n"
    "  3  in doubt: the move was committed, but the destination did not confirm\n"
    "  4  failed, and the source VM is paused\n"
    "  5  not moved: the guest has shut down or crashed, or its QEMU has ended\n"
    "  6  not moved: somebody else has paused the VM, and it stays paused\n"
    "  7  incomplete: the VM runs at the destination, and some of its memory is only at the source";

}  // namespace godwit
