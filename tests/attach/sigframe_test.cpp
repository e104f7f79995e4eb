// The frame from which an abandoned thread goes on, byte by byte where the kernel reads it.
#include "attach/sigframe.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <cstring>

namespace godwit::sigframe_test {
namespace {

user_regs_struct interrupted_call(std::int64_t code) {
  user_regs_struct registers{};
  registers.orig_rax = 271;
  registers.rax = static_cast<std::uint64_t>(code);
  registers.rip = 0x401002;
  registers.rsp = 0x7ffd12345678;
  return registers;
}

TEST(ResumedByItself, MakesAnInterruptedCallAgain) {
  for (const int code : {-512, -513, -514}) {
    const auto resumed = resumed_by_itself(interrupted_call(code));
    EXPECT_EQ(resumed.rax, 271U) << code;
    EXPECT_EQ(resumed.rip, 0x401000U) << code;
  }
}

TEST(ResumedByItself, SaysEintrWhereOnlyTheKernelCouldResume) {
  const auto resumed = resumed_by_itself(interrupted_call(-516));
  EXPECT_EQ(static_cast<std::int64_t>(resumed.rax), -EINTR);
  EXPECT_EQ(resumed.rip, 0x401002U);
}

TEST(ResumedByItself, LeavesResultsAndRunningCodeAlone) {
  for (const std::int64_t result : {0, 17, -4, -511, -515, -517}) {
    const auto resumed = resumed_by_itself(interrupted_call(result));
    EXPECT_EQ(static_cast<std::int64_t>(resumed.rax), result);
    EXPECT_EQ(resumed.rip, 0x401002U);
  }
  auto running = interrupted_call(-512);
  running.orig_rax = ~0ULL;  // rax happens to hold -512
  const auto resumed = resumed_by_itself(running);
  EXPECT_EQ(static_cast<std::int64_t>(resumed.rax), -512);
  EXPECT_EQ(resumed.rip, 0x401002U);
}

std::vector<std::byte> xstate_with(std::uint64_t in_use) {
  std::vector<std::byte> xstate(16384);
  std::memcpy(xstate.data() + 512, &in_use, sizeof in_use);
  return xstate;
}

template <typename T>
T at(const SignalFrame& frame, std::size_t offset) {
  T value;
  std::memcpy(&value, frame.bytes.data() + offset, sizeof value);
  return value;
}

TEST(BuildSignalFrame, LiesBelowTheRedZoneAndIsAligned) {
  ThreadState state{interrupted_call(0), xstate_with(3), 0x8000000000000001};
  for (std::uint64_t shift = 0; shift < 64; shift += 8) {
    state.registers.rsp = 0x7ffd12345600 + shift;
    const auto frame = build_signal_frame(state, 0xabcdef);
    ASSERT_TRUE(frame);
    EXPECT_LE(frame->address + frame->bytes.size(), state.registers.rsp - 128);
    EXPECT_EQ(frame->end, state.registers.rsp - 128);
    EXPECT_EQ(frame->address % 16, 8U);
    EXPECT_EQ(at<std::uint64_t>(*frame, 0), 0xabcdefU);              // return address
    EXPECT_EQ(at<std::uint64_t>(*frame, 176), 0x401002U);            // rip
    EXPECT_EQ(at<std::uint64_t>(*frame, 168), state.registers.rsp);  // rsp
    EXPECT_EQ(at<std::uint64_t>(*frame, 304), state.signal_mask);
    const auto xstate = at<std::uint64_t>(*frame, 232);
    EXPECT_EQ(xstate % 64, 0U);
    const std::size_t offset = xstate - frame->address;
    EXPECT_EQ(at<std::uint32_t>(*frame, offset + 464), 0x46505853U);
    const auto size = at<std::uint32_t>(*frame, offset + 464 + 16);
    EXPECT_EQ(size, 576U);
    EXPECT_EQ(at<std::uint32_t>(*frame, offset + size), 0x46505845U);
    EXPECT_EQ(frame->bytes.size(), offset + size + 4);
  }
}

TEST(BuildSignalFrame, RefusesWhatItDoesNotKnow) {
  ThreadState state{interrupted_call(0), {}, 0};
  EXPECT_FALSE(build_signal_frame(state, 1));
  state.xstate = xstate_with(3);
  state.xstate.resize(575);
  EXPECT_FALSE(build_signal_frame(state, 1));
  state.xstate = xstate_with(std::uint64_t{1} << 62);  // a component that no processor has
  EXPECT_FALSE(build_signal_frame(state, 1));
  state.xstate = xstate_with(3);
  state.registers.rsp = 100;
  EXPECT_FALSE(build_signal_frame(state, 1));
}

}  // namespace
}  // namespace godwit::sigframe_test
