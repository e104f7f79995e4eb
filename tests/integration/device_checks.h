// Uses of devices by a guest, before a move and after it.
//
//   set_up once -> (before -> the move -> after) for each move
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "tests/integration/device_guest.h"

namespace godwit::testing {

class DeviceCheck {
 public:
  explicit DeviceCheck(std::string name) : name_(std::move(name)) {}
  virtual ~DeviceCheck() = default;
  const std::string& name() const noexcept { return name_; }
  virtual Status set_up(DeviceGuest&) { return {}; }
  virtual Status before(DeviceGuest&, unsigned /*move*/) { return {}; }
  virtual Status after(DeviceGuest& guest, unsigned move) = 0;

 private:
  std::string name_;
};

using DeviceChecks = std::vector<std::unique_ptr<DeviceCheck>>;

/// Patterns are there after the move, new ones can be written, and one who writes and reads all the time goes on.
std::unique_ptr<DeviceCheck> disk(const std::string& name, unsigned mebibytes);
/// Pings of the host get answers. The host is 10.0.NUMBER.2, the card's MAC ends in NUMBER.
std::unique_ptr<DeviceCheck> network_card(const std::string& name, unsigned number);
/// Two readings of 64 bytes that differ.
std::unique_ptr<DeviceCheck> random_source();
/// The guest's memory is as large as it was told before the move, and follows what it is told after it.
std::unique_ptr<DeviceCheck> balloon();
/// What the host has sent before the move is read after it, and both directions go on. At %OWN%/port.
std::unique_ptr<DeviceCheck> port();
/// The picture that the guest drew before the move is what QEMU shows after it, and a new one appears.
std::unique_ptr<DeviceCheck> screen();
/// Events come from the device with such a name: a key, a place, a movement.
std::unique_ptr<DeviceCheck> keyboard(const std::string& device);
std::unique_ptr<DeviceCheck> tablet(const std::string& device);
std::unique_ptr<DeviceCheck> mouse(const std::string& device);
/// A register that was extended before the move has its value after it, and can be extended.
std::unique_ptr<DeviceCheck> tpm();
/// A variable of UEFI firmware has its value after the move, and can be written.
std::unique_ptr<DeviceCheck> firmware_variable();
/// The RTC's interrupts come.
std::unique_ptr<DeviceCheck> rtc();
/// The guest keeps time by this clock: its monotonic clock goes on, and a sleep ends.
std::unique_ptr<DeviceCheck> clock_source(const std::string& name);
/// All CPUs are there.
std::unique_ptr<DeviceCheck> cpus(unsigned number);

}  // namespace godwit::testing
