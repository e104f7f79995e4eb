// What the bare-metal guest says about itself (tests/guests/bare_metal/status.h), read from outside while it runs.
#pragma once

#include <filesystem>
#include <string>

#include "tests/guests/bare_metal/status.h"
#include "tests/support/qemu_vm.h"

namespace godwit::testing {

Result<GuestStatus> read_guest_status(const TestQemu& qemu);

/// Errors of all kinds that the guest has found.
std::uint64_t errors_of(const GuestStatus& status);
std::string describe(const GuestStatus& status);

/// Waits until every CPU works and has filled its areas once. An error says what the guest printed.
Status wait_for_guest(TestQemu& qemu, milliseconds limit = seconds(120));

/// Waits until every CPU has made `passes` more over its areas and two over its cold areas (so every page has been
/// verified again), and a disk guest has gone round its pool. An error if the guest finds an error, is paused, or takes
/// too long.
Status expect_guest_works(TestQemu& qemu, unsigned passes = 2, milliseconds limit = seconds(120));

/// Writes a disk of which the guest knows every word.
Status make_guest_disk(const std::filesystem::path& path, std::uint64_t size);

}  // namespace godwit::testing
