// A scene: one guest, two QEMUs, a Godwit at each, and what must hold when it is over.
//
//   make -> receive -> send -> (something goes wrong) -> expect_...
//
// Every expectation is a Status whose message says what was found instead.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tests/integration/fixture.h"
#include "tests/support/net_lab.h"

namespace godwit::testing {

/// A small VM whose guest writes at a moderate rate: enough to be dirty all the time, too little to load the machine.
QemuOptions quiet_vm();

class Scene {
 public:
  static Result<std::unique_ptr<Scene>> make(const QemuOptions& source, const QemuOptions& sink);
  static Result<std::unique_ptr<Scene>> make(const QemuOptions& both) { return make(both, both); }

  /// A scene that goes on with a guest that runs already, towards a sink that is new.
  static Result<std::unique_ptr<Scene>> from(std::unique_ptr<TestQemu> source, const QemuOptions& sink);

  /// Puts the two Godwits into the namespaces of a lab. Before receive().
  void use(const NetLab& lab) { lab_ = &lab; }

  /// Starts `godwit receive` and waits until it listens.
  Status receive(const GodwitOptions& options = {});
  /// Starts `godwit send` towards it.
  Status send(const GodwitOptions& options = {});
  /// Starts `godwit send` towards some other place.
  Status send_to(const std::string& address, const GodwitOptions& options = {});

  TestQemu& source() noexcept { return *pair_.source; }
  TestQemu& sink() noexcept { return *pair_.sink; }
  TestGodwit& receiver() noexcept { return *receiver_; }
  TestGodwit& sender() noexcept { return *sender_; }
  const std::string& address() const noexcept { return address_; }
  /// Changes the source QEMU as its operator does: what it opens for it is not left behind by a Godwit.
  Status change_source(const std::function<Status(TestQemu&)>& change);
  /// How the QEMU of expect_next_migration_succeeds() is started, if not as the first sink.
  void next_sink(const QemuOptions& options) { sink_options_ = options; }
  /// The sink QEMU, to go on with.
  std::unique_ptr<TestQemu> take_sink() { return std::move(pair_.sink); }
  std::unique_ptr<TestQemu> take_source() { return std::move(pair_.source); }

  /// Both Godwits end with 0 (the sender, where that has started the other one), the guest runs and verifies at the
  /// sink only, nothing is left behind.
  Status expect_moved();
  /// The sender ends with 1 and says every one of `words` ("a|b": one of them), the guest runs and verifies at the
  /// source, the sink's does not, the receiver ends, nothing is left behind.
  Status expect_source_runs(const std::vector<std::string>& words);
  /// The sender is dead (SIGKILL). `godwit probe` lets the guest run if it was paused and says so; then as above. Gives
  /// whether the guest was paused.
  Result<bool> expect_probe_revives();
  /// `godwit receive` ends without success, or is waiting for the next source and ends when it is told to.
  Status expect_receiver_ends();
  /// No guest runs at the sink: its QEMU is gone, or it is paused.
  Status expect_sink_does_not_run();
  /// The last report's number of this name is not 0: the move did what it was meant to put to the test.
  Status expect_some(const std::string& name);
  /// No more descriptors in the source QEMU than before, no files in /dev/shm, no processes.
  Status expect_nothing_left();
  /// Another engine looks at the source's guest after it has moved: QEMU 7.2 keeps what that lends it.
  void look_at_source_again() noexcept { ++may_be_lent_; }
  /// Another migration of the same guest, to a new sink, succeeds. The scene has that sink from then on.
  Status expect_next_migration_succeeds();

 private:
  Scene() = default;
  Status trust(GodwitOptions& options);
  Status expect_report(const std::string& outcome);
  Status expect_small_engines(const Json& report);
  QemuOptions sink_options_;
  Pair pair_;
  std::optional<Footprint> before_;
  unsigned long may_be_lent_ = 1;  ///< files for devices, empty, in the source's QEMU
  std::set<std::string> shared_before_;
  const NetLab* lab_ = nullptr;
  std::unique_ptr<TestGodwit> receiver_;
  std::unique_ptr<TestGodwit> sender_;
  std::string address_;
};

/// Whether `text` has `words`, upper case or lower: "refused|unreachable" asks for one of the two.
bool says(const std::string& text, const std::string& words);

/// GODWIT_FAILPOINT for a milestone.
GodwitOptions failing_at(const std::string& milestone, const std::string& action);

}  // namespace godwit::testing
