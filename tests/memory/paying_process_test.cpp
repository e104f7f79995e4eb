// A process that has ended is not written to, whoever has its number by now.
#include "memory/paying_process.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>

namespace godwit::paying_process_test {
namespace {

std::shared_ptr<const UniqueFd> pidfd_of(pid_t pid) {
  return std::make_shared<const UniqueFd>(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

TEST(PayingProcess, ThatHasEndedIsNotMistakenForWhoHasItsNumberNow) {
  const pid_t ended = ::fork();
  if (ended == 0) ::_exit(0);
  const auto pidfd = pidfd_of(ended);
  ASSERT_TRUE(*pidfd);
  ASSERT_EQ(::waitpid(ended, nullptr, 0), ended);
  std::array<std::byte, 4096> memory{};
  const std::array<std::byte, 4096> bytes{std::byte{0x5a}};
  // This process stands for the one that has got the number since.
  const PayingProcess stranger{::getpid(), reinterpret_cast<std::uintptr_t>(memory.data()), pidfd};
  EXPECT_EQ(stranger.fill(0, bytes), 0U);
  EXPECT_EQ(memory[0], std::byte{});
  const PayingProcess alive{::getpid(), reinterpret_cast<std::uintptr_t>(memory.data()), pidfd_of(::getpid())};
  EXPECT_EQ(alive.fill(0, bytes), bytes.size());
  EXPECT_EQ(memory[0], std::byte{0x5a});
}

}  // namespace
}  // namespace godwit::paying_process_test
