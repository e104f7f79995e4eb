// What the guest does when it is told to.
#pragma once

#include <sstream>
#include <string>

namespace godwit::guest {

/// Obeys a command with its arguments. The answer is "ok ..." or "error: ...", without an end of line.
std::string obey(std::istringstream& line);

// The commands, by device. Each gives an answer as above.
// disks.cpp: a disk is known by its size in MiB, which is another one for each.
std::string disk_write(std::istringstream& line);
std::string disk_check(std::istringstream& line);
std::string disk_busy(std::istringstream& line);
std::string disk_rest(std::istringstream& line);
// network.cpp: a network card is known by its MAC.
std::string net_up(std::istringstream& line);
std::string ping(std::istringstream& line);
// clocks.cpp
std::string clocks(std::istringstream& line);
std::string clock_source(std::istringstream& line);
std::string rtc_ticks(std::istringstream& line);
std::string nap(std::istringstream& line);
// screen.cpp
std::string draw(std::istringstream& line);
std::string screen(std::istringstream& line);
// input.cpp
std::string input_forget(std::istringstream& line);
std::string input(std::istringstream& line);
// trust.cpp: what firmware and the TPM keep.
std::string tpm_extend(std::istringstream& line);
std::string tpm_read(std::istringstream& line);
std::string variable_write(std::istringstream& line);
std::string variable_read(std::istringstream& line);
// small.cpp
std::string random_bytes(std::istringstream& line);
std::string memory(std::istringstream& line);
std::string port_send(std::istringstream& line);
std::string port_receive(std::istringstream& line);
std::string cpus(std::istringstream& line);

/// "error: WHAT: the system's reason".
std::string os_error(const std::string& what);
/// Calls until it gives true, for as long as a device may take under emulation on a busy host.
template <typename Ready>
bool wait_for(Ready&& ready);
void short_pause();

template <typename Ready>
bool wait_for(Ready&& ready) {
  for (int i = 0; i < 600; ++i) {
    if (ready()) return true;
    short_pause();
  }
  return ready();
}

}  // namespace godwit::guest
