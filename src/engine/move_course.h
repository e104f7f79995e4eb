// How a move would go, simulated: lanes sweep over memory, harvests post again what was written, the autopilot
// (autopilot.h) decides as in a real move. No page is looked at: pages are densities, sets of pages of one heat each.
//
//   | swept: posted again, waits for the next sweep | ahead: this sweep comes by it |
//   0                                               x                               1
#pragma once

#include "engine/goals.h"
#include "engine/write_curve.h"

namespace godwit {

/// One guess at everything that matters.
struct MoveModel {
  WriteCurve writes;
  double ram_pages = 0;
  double data_pages = 0;          ///< that are copied at all
  double first_left = 0;          ///< of them, not sent yet
  double waiting_again = 0;       ///< posted again and not sent yet
  double first_page_bytes = 0;    ///< on the wire, of a page sent for the first time
  double again_page_bytes = 0;    ///< and of one that is sent again
  double first_page_seconds = 0;  ///< what reading and encoding such a page takes all lanes at least; 0: no limit
  double again_page_seconds = 0;
  double bytes_per_second = 0;  ///< what the link takes
  Duration scan{};              ///< looking for written pages, in the pause
  Duration rechecks{};          ///< other looks in the pause
  Duration device_pause{};      ///< saving and loading devices
  std::uint64_t device_bytes = 0;
  Duration setup{};     ///< before memory is copied: connections, tracking, the data map; 0: it has been
  Duration handover{};  ///< from asking the hypervisor to stop the guest until it is paused
  Duration since_harvest{};
  std::uint64_t harvests = 0;  ///< made already
  Duration elapsed{};          ///< since the move began
  double share = 1;            ///< of a CPU that each vCPU may use now, which `writes` has in it
};

struct MoveCourse {
  bool switched = false;  ///< it comes to an end, by post-copy too
  Duration total{};       ///< from now on, with the pause; what was simulated, if it does not end
  Duration first_pass{};  ///< of that, until all memory has been copied once
  Duration pause{};       ///< if it does not end, the shortest that the autopilot could have chosen
  double bytes = 0;       ///< on the wire from now on
  bool by_link = true;    ///< the first pass waits for the link rather than for encoders
};

/// Without regard to goals.bound(). Pure.
MoveCourse simulate_move(const MoveModel& model, const Goals& goals);

}  // namespace godwit
