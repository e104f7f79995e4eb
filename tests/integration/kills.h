// An engine killed at a milestone, at either end, and what must hold when the next commands have looked at both QEMUs.
//
//   every_kill() -> stop_engine() -> (something happens) -> kill_engine() -> recover()
#pragma once

#include <string>
#include <vector>

#include "tests/integration/scene.h"

namespace godwit::testing {

enum class Side { kSource, kSink };

struct Kill {
  Side side = Side::kSource;
  std::string milestone;
  QemuVersion version = QemuVersion::k7_2;
  bool by_stream = false;  ///< else as the VM can
};
/// "source_handing_over_7_2", for a test's name.
std::string name_of(const Kill& kill);

/// In the order in which a move comes by them; those of the sink from its first source on.
const std::vector<std::string>& milestones_of(Side side);
/// From the first to the last one named, with QEMU 7.2 and 10.0.
std::vector<Kill> kills_of(Side side, const std::string& first, const std::string& last);
/// At either end and every milestone.
std::vector<Kill> every_kill();

/// Where the guest is to be found once an engine has been killed there.
enum class Home {
  kSource,      ///< it runs there, at the latest after the next command
  kSink,        ///< it runs there
  kAwaitsCont,  ///< it is paused at the sink, whose probe says what to type
  kInDoubt,     ///< it is paused at the source, which has committed and cannot know
};
/// A sink that was killed when it had said that it is prepared may have been believed: its source tells (recover()).
Home home_after(const Kill& kill);

/// QEMU's migration capabilities and parameters.
Json settings_of(TestQemu& qemu);
struct SettingsOfBoth {
  Json source;
  Json sink;
};
SettingsOfBoth settings_of(Scene& scene);

/// What `godwit probe` says.
Result<std::string> probe(TestQemu& qemu);

/// Starts both engines, one of which is to be killed by itself at its milestone.
Status start_until_killed(Scene& scene, const Kill& kill, const std::vector<std::string>& receive = {});
/// Starts both engines, and waits until one has stopped itself at its milestone.
Status stop_engine(Scene& scene, const Kill& kill);
Status kill_engine(Scene& scene, const Kill& kill);

/// Where the guest is, and what both QEMUs' probes said.
struct Recovered {
  Home home = Home::kSource;
  std::string source;
  std::string sink;
};
/// Both engines have ended, each QEMU that is left has been looked at by a probe, and has its settings back. Not both
/// run.
Result<Recovered> recover(Scene& scene, const Kill& kill, const SettingsOfBoth& before);

}  // namespace godwit::testing
