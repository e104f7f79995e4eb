// A Linux guest that uses devices (tests/guests/linux_devices), told what to do on a serial line, and moved.
//
//   test --Unix socket--> QEMU's second serial port --> the guest's init
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "tests/integration/fixture.h"

namespace godwit::testing {

/// A Unix socket of a QEMU's, read line by line.
class LineSocket {
 public:
  static Result<LineSocket> connect(const std::filesystem::path& path);
  Status send(const std::string& line);
  /// The next line that begins so; others are dropped.
  Result<std::string> receive(const std::string& beginning, milliseconds limit);

 private:
  UniqueFd socket_;
  std::string pending_;
};

struct DeviceGuestOptions {
  QemuOptions qemu;             ///< in `more` %OWN% is each QEMU's own folder, %SHARED% that of all of them
  std::vector<unsigned> disks;  ///< MiB: images %SHARED%/MIB.img that are there before the guest starts
  std::filesystem::path flash;  ///< copied to %SHARED%/vars.fd
  bool tpm = false;             ///< a swtpm beside each QEMU, at %OWN%/tpm
};

class DeviceGuest {
 public:
  /// Fetches and builds what is missing, and starts the guest. kNotFound or kUnsupported: it cannot be had here.
  static Result<std::unique_ptr<DeviceGuest>> start(const DeviceGuestOptions& options);

  Status wait_until_ready(milliseconds limit = seconds(300));
  /// What the guest answers behind "ok "; an error with its words if it says so, or nothing.
  Result<std::string> ask(const std::string& command, milliseconds limit = seconds(120));

  /// A QEMU of the same VM that waits.
  Status start_destination();
  /// By Godwit, with "--devices direct" or "stream"; from then on it is the destination's guest, the old QEMU ends.
  Status move(const std::string& way);
  /// The same by QEMU's own migration of the running guest.
  Status move_by_qemu();

  TestQemu& qemu() noexcept { return *here_.qemu; }
  /// %OWN% of the QEMU that the guest is in.
  std::filesystem::path own() const { return here_.own.path(); }
  std::filesystem::path shared() const { return shared_.path(); }
  /// No complaint of its kernel.
  Status expect_calm();

 private:
  struct Side {
    TempFolder own;
    std::unique_ptr<ChildProcess> tpm;
    std::unique_ptr<TestQemu> qemu;
    std::unique_ptr<LineSocket> line;
  };
  DeviceGuest() = default;
  Result<Side> start_side(bool incoming);
  void arrive();

  DeviceGuestOptions options_;
  TempFolder shared_;
  Side here_, there_;
  unsigned asked_ = 0;
};

}  // namespace godwit::testing
