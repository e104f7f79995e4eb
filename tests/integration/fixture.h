// What the integration tests share: a pair of QEMUs, one migration of one guest, and what must hold after it.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "tests/support/godwit_leaks.h"
#include "tests/support/godwit_run.h"
#include "tests/support/guest_watch.h"
#include "tests/support/qemu_memory.h"
#include "tests/support/qemu_vm.h"

/// Fails the test with the error's words.
#define ASSERT_OK(expression)                                                \
  do {                                                                       \
    const auto& godwit_result = (expression);                                \
    ASSERT_TRUE(godwit_result.has_value()) << godwit_result.error().message; \
  } while (false)

/// The value of a Result in a variable; the test skips visibly where this machine lacks something, else fails.
#define ASSIGN_OR_SKIP(variable, expression)                                               \
  auto variable##_result = (expression);                                                   \
  if (!variable##_result && ::godwit::testing::lacks_something(variable##_result.error())) \
    GTEST_SKIP() << variable##_result.error().message;                                     \
  ASSERT_TRUE(variable##_result.has_value()) << variable##_result.error().message;         \
  auto variable = std::move(*variable##_result)

/// The value of a Result in a variable, or the test fails.
#define ASSIGN_OR_FAIL(variable, expression)                                       \
  auto variable##_result = (expression);                                           \
  ASSERT_TRUE(variable##_result.has_value()) << variable##_result.error().message; \
  auto variable = std::move(*variable##_result)

namespace godwit::testing {

/// Whether an error says that the machine lacks what a test needs, rather than that something is broken.
bool lacks_something(const Error& error);

/// The bare-metal guest's image.
std::filesystem::path guest_image();

/// A source with a guest that works, and a destination that waits.
struct Pair {
  std::unique_ptr<TestQemu> source;
  std::unique_ptr<TestQemu> sink;
};
/// The sink is as the source except for `incoming`.
Result<Pair> start_pair(const QemuOptions& options);
/// The sink as given.
Result<Pair> start_pair(const QemuOptions& source, QemuOptions sink);

/// QEMU's own migration by a Unix socket, up to "completed"; the sink has not run yet. The guest is paused from the
/// beginning: QEMU 7.2's migration of a running guest is not exact under TCG (it lost pages of the disk guest in half
/// of the tries), and the harness is not there to test QEMU.
Status migrate_by_qemu(Pair& pair);

}  // namespace godwit::testing
