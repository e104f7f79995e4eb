#include "tests/support/guest_watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <functional>

namespace godwit::testing {
namespace {

/// Counters wrap, so only differences mean something.
bool advanced(std::uint32_t before, std::uint32_t now, std::uint32_t by) {
  return now - before >= by;
}

Status check(TestQemu& qemu, const GuestStatus& status) {
  if (status.magic != GUEST_STATUS_MAGIC) return fail(ErrorKind::kProtocol, "no guest status in memory");
  if (status.state == GUEST_STUCK) return fail(ErrorKind::kHypervisor, "the guest is stuck: " + qemu.serial());
  if (errors_of(status) != 0) return fail(ErrorKind::kProtocol, "the guest found errors: " + describe(status));
  return {};
}

Status wait_for(TestQemu& qemu, milliseconds limit, const std::function<bool(const GuestStatus&)>& reached) {
  Status found;
  GuestStatus status{};
  const bool in_time = wait_until(
      [&] {
        auto read = read_guest_status(qemu);
        if (!read) {
          found = fail(std::move(read).error());
          return true;
        }
        status = *read;
        found = check(qemu, status);
        return !found || reached(status);
      },
      limit);
  if (!found) return found;
  if (!in_time) {
    const auto state = qemu.status();
    return fail(ErrorKind::kTimedOut, fmt::format("the guest does not run (QEMU: {}): {}",
                                                  state ? *state : state.error().message, describe(status)));
  }
  return {};
}

}  // namespace

Result<GuestStatus> read_guest_status(const TestQemu& qemu) {
  GuestStatus status{};
  TRY(qemu.read_physical(GUEST_STATUS_ADDRESS, &status, sizeof(status)));
  return status;
}

std::uint64_t errors_of(const GuestStatus& status) {
  std::uint64_t errors = std::uint64_t{status.disk.errors} + status.disk.io_errors;
  for (const auto& cpu : status.cpu) errors += cpu.errors;
  return errors;
}

std::string describe(const GuestStatus& status) {
  std::string text = fmt::format("state {}", status.state);
  for (unsigned i = 0; i < std::min(status.cpus, GUEST_MAX_CPUS); ++i) {
    const auto& cpu = status.cpu[i];
    text += fmt::format("; cpu {}: {} passes, {} pages written, {} verified", i, cpu.passes, cpu.pages_written,
                        cpu.pages_verified);
    if (cpu.errors == 0) continue;
    text +=
        fmt::format(", {} ERRORS, first: page {:#x} word {} expected {:#x} found {:#x} generation {}", cpu.errors,
                    cpu.first_bad_page, cpu.first_bad_word, cpu.first_expected, cpu.first_found, cpu.first_generation);
  }
  const auto& disk = status.disk;
  if (disk.present == 0) return text;
  text += fmt::format("; disk: {} completed, {} pool passes", disk.completed, disk.pool_passes);
  if (disk.errors + disk.io_errors == 0) return text;
  return text +
         fmt::format(", {} ERRORS, {} I/O errors, first: page {:#x} word {} expected {:#x} found {:#x} sector {}",
                     disk.errors, disk.io_errors, disk.first_bad_page, disk.first_bad_word, disk.first_expected,
                     disk.first_found, disk.first_sector);
}

Status wait_for_guest(TestQemu& qemu, milliseconds limit) {
  // Before the guest's first instruction there is no status, and maybe no memory, to read: only QEMU can tell.
  const bool begun = wait_until(
      [&] {
        const auto text = qemu.monitor().human(fmt::format("xp /1wx {:#x}", GUEST_STATUS_ADDRESS));
        return !text || text->find(fmt::format("{:#010x}", GUEST_STATUS_MAGIC)) != std::string::npos;
      },
      limit);
  if (!begun) return fail(ErrorKind::kTimedOut, "the guest does not begin: " + qemu.serial() + qemu.errors());
  return wait_for(qemu, limit, [](const GuestStatus& status) {
    if (status.state != GUEST_RUNNING || status.cpus == 0) return false;
    for (unsigned i = 0; i < std::min(status.cpus, GUEST_MAX_CPUS); ++i) {
      if (status.cpu[i].passes == 0) return false;
    }
    return true;
  });
}

Status expect_guest_works(TestQemu& qemu, unsigned passes, milliseconds limit) {
  const GuestStatus before = TRY(read_guest_status(qemu));
  TRY(check(qemu, before));
  return wait_for(qemu, limit, [&](const GuestStatus& now) {
    for (unsigned i = 0; i < std::min(now.cpus, GUEST_MAX_CPUS); ++i) {
      if (!advanced(before.cpu[i].passes, now.cpu[i].passes, passes)) return false;
      // The first round may have been half-way at the beginning.
      if (now.cold_pages != 0 && !advanced(before.cpu[i].cold_passes, now.cpu[i].cold_passes, 2)) return false;
    }
    return now.disk.present == 0 || advanced(before.disk.pool_passes, now.disk.pool_passes, 1 + passes / 2);
  });
}

Status make_guest_disk(const std::filesystem::path& path, std::uint64_t size) {
  std::ofstream file(path, std::ios::binary);
  std::array<std::uint32_t, 128> sector{};
  for (std::uint32_t number = 0; number < size / sizeof(sector); ++number) {
    for (std::uint32_t word = 0; word < sector.size(); ++word) sector[word] = guest_disk_word(number, word);
    file.write(reinterpret_cast<const char*>(sector.data()), sizeof(sector));
  }
  file.close();
  if (!file) return fail(ErrorKind::kIo, "cannot write " + path.string());
  return {};
}

}  // namespace godwit::testing
