// The Linux test guest (tests/guests/linux) in a QEMU of the test's own, and a way to talk to it.
//
//   test --127.0.0.1:any--> QEMU's user network --> 10.0.2.15:7777, the guest's line server
#pragma once

#include <filesystem>
#include <memory>
#include <string>

#include "tests/support/qemu_vm.h"

namespace godwit::testing {

struct LinuxGuestOptions {
  QemuOptions qemu;
  std::string suite;  ///< of the kernel: "bookworm-backports"; empty: the system's
  std::string words;  ///< more for the kernel's command line
  unsigned content = 24, random = 16, freed = 64, area = 32;  ///< MiB
};

class LinuxGuest {
 public:
  /// Fetches and builds what is missing by the project's own tools, and starts the guest. kNotFound says what is not
  /// to be had on this machine.
  static Result<std::unique_ptr<LinuxGuest>> start(const LinuxGuestOptions& options);

  TestQemu& qemu() noexcept { return *qemu_; }

  /// The same VM, waiting for this guest.
  Result<std::unique_ptr<TestQemu>> start_destination() const;
  /// It has moved there: from now on that is its QEMU. The old one ends.
  Status move_into(std::unique_ptr<TestQemu> destination);

  /// Waits until it has come up for the `boots`-th time.
  Status wait_until_ready(unsigned boots = 1, milliseconds limit = seconds(240));

  struct Answer {
    std::uint64_t errors = 0;
    std::uint64_t passes = 0;
    std::uint64_t free_bytes = 0;  ///< its own MemFree
  };
  /// "ping", "verify" (waits for a whole pass), "free" (takes memory and frees it), "load KIND RATE". From any
  /// thread.
  Result<Answer> ask(const std::string& line, milliseconds limit = seconds(120));

  /// Every page verified again and found right, and no complaint of its kernel.
  Status expect_well();

 private:
  LinuxGuest() = default;
  Result<std::uint16_t> forwarded_port();
  TempFolder folder_;
  QemuOptions options_;
  std::unique_ptr<TestQemu> qemu_;
  std::uint16_t port_ = 0;
};

}  // namespace godwit::testing
