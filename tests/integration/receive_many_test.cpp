// One `godwit receive` for many VMs, found by their names.
#include <filesystem>

#include "tests/integration/scene.h"

namespace godwit::testing {
namespace {

QemuOptions vm_called(const std::string& name) {
  QemuOptions vm = quiet_vm();
  vm.more = {"-name", name};
  return vm;
}

class ReceiveMany : public ::testing::Test {
 protected:
  void SetUp() override {
    auto folder = TempFolder::make("/tmp");
    ASSERT_OK(folder);
    folder_ = std::move(*folder);
  }

  Status start(GodwitOptions options = {}) {
    options.arguments = {"receive",
                         "--qmp-dir",
                         folder_.path().string(),
                         "--listen",
                         "tcp://127.0.0.1:0",
                         "--report",
                         (folder_.path() / "reports").string()};
    options.environment["GODWIT_STATE_DIR"] = (folder_.path() / "state").string();
    receiver_ = TRY(TestGodwit::start(options));
    address_ = TRY(receiver_->listening_at());
    return {};
  }
  /// A VM and the QEMU that waits for it, whose monitor is in the folder under its name.
  Result<Pair> pair(const std::string& name) {
    auto made = TRY(start_pair(vm_called(name)));
    std::filesystem::remove(folder_.path() / name);
    std::filesystem::create_symlink(made.sink->qmp_path(), folder_.path() / name);
    return made;
  }
  Status expect_moved(Pair& pair, TestGodwit& sender) {
    const Ended sent = TRY(sender.wait(seconds(120)));
    if (sent.code != 0) return fail(ErrorKind::kProtocol, sender.errors() + receiver_->errors());
    const auto running = [&] { return pair.sink->status().value_or("") == "running"; };
    if (!wait_until(running, seconds(10))) return fail(ErrorKind::kProtocol, "it does not run there");
    if (TRY(pair.source->status()) == "running") return fail(ErrorKind::kProtocol, "it runs here, too");
    return {};
  }
  std::string reports() const { return read_text(folder_.path() / "reports"); }

  TempFolder folder_;
  std::unique_ptr<TestGodwit> receiver_;
  std::string address_;
};

TEST_F(ReceiveMany, TakesInVmsSideBySideAndOneAfterTheOther) {
  ASSIGN_OR_SKIP(one, pair("one"));
  ASSIGN_OR_SKIP(two, pair("two"));
  ASSERT_OK(start());
  ASSIGN_OR_FAIL(send_one, start_send(*one.source, address_));
  ASSIGN_OR_FAIL(send_two, start_send(*two.source, address_));
  ASSERT_OK(expect_moved(one, *send_one));
  ASSERT_OK(expect_moved(two, *send_two));
  // A new QEMU waits in the place of the one that has its VM.
  ASSIGN_OR_SKIP(again, pair("one"));
  ASSIGN_OR_FAIL(send_again, start_send(*again.source, address_));
  ASSERT_OK(expect_moved(again, *send_again));
  const auto all_told = [&] { return std::ranges::count(reports(), '\n') == 3; };
  EXPECT_TRUE(wait_until(all_told, seconds(10))) << reports();
  ASSERT_OK(receiver_->process().send_signal(SIGTERM));
  ASSIGN_OR_FAIL(ended, receiver_->wait(seconds(20)));
  EXPECT_EQ(ended.code, 0) << receiver_->errors();
}

TEST_F(ReceiveMany, GoesOnAfterAVmThatNobodyWaitsForAndOneThatBreaksOff) {
  ASSIGN_OR_SKIP(unknown, start_pair(vm_called("unknown")));
  ASSIGN_OR_SKIP(one, pair("one"));
  ASSERT_OK(start());
  ASSIGN_OR_FAIL(refused, start_send(*unknown.source, address_));
  ASSIGN_OR_FAIL(refused_end, refused->wait(seconds(60)));
  EXPECT_EQ(refused_end.code, 1);
  EXPECT_TRUE(says(refused->errors(), "no QEMU waits here for a VM called 'unknown'")) << refused->errors();
  ASSIGN_OR_FAIL(status, unknown.source->status());
  EXPECT_EQ(status, "running");

  ASSIGN_OR_FAIL(broken, start_send(*one.source, address_, failing_at("connected", "kill")));
  ASSIGN_OR_FAIL(broken_end, broken->wait(seconds(60)));
  EXPECT_EQ(broken_end.signal, SIGKILL);
  ASSIGN_OR_FAIL(sent, start_send(*one.source, address_));
  ASSERT_OK(expect_moved(one, *sent));
  for (const char* line : {"VM 'unknown' (", "): Not received: no QEMU waits here", "): Nothing was changed here."}) {
    EXPECT_TRUE(says(receiver_->errors(), line)) << receiver_->errors();
  }
}

/// Committed, and then both the QEMU there and whoever could take the guest back are lost.
TEST_F(ReceiveMany, ThatLeavesAVmInDoubtEndsWithThree) {
  ASSIGN_OR_SKIP(one, pair("one"));
  ASSERT_OK(start(failing_at("committed", "stop")));
  ASSIGN_OR_FAIL(sender, start_send(*one.source, address_));
  ASSERT_OK(receiver_->process().wait_until_stopped(seconds(60)));
  sender->process().kill();
  one.sink->process().kill();
  ASSERT_OK(receiver_->process().send_signal(SIGCONT));
  const auto told = [&] {
    return says(receiver_->errors(), "VM 'one' (") && says(receiver_->errors(), "): In doubt: ");
  };
  EXPECT_TRUE(wait_until(told, seconds(30))) << receiver_->errors();
  ASSERT_OK(receiver_->process().send_signal(SIGTERM));
  ASSIGN_OR_FAIL(ended, receiver_->wait(seconds(30)));
  EXPECT_EQ(ended.code, 3) << receiver_->errors();
}

/// Told to stop, it lets what has been committed run, and takes nothing new.
TEST_F(ReceiveMany, ThatIsToldToStopLeavesTheVmsWhereTheyAre) {
  ASSIGN_OR_SKIP(one, pair("one"));
  ASSERT_OK(start());
  ASSIGN_OR_FAIL(sender, start_send(*one.source, address_, failing_at("handing-over", "stop")));
  ASSERT_OK(sender->process().wait_until_stopped(seconds(60)));
  ASSERT_OK(receiver_->process().send_signal(SIGTERM));
  ASSIGN_OR_FAIL(ended, receiver_->wait(seconds(30)));
  EXPECT_EQ(ended.code, 0);
  ASSERT_OK(sender->process().send_signal(SIGCONT));
  ASSIGN_OR_FAIL(sent, sender->wait(seconds(60)));
  EXPECT_EQ(sent.code, 1) << sender->errors();
  ASSIGN_OR_FAIL(here, one.source->status());
  EXPECT_EQ(here, "running");
}

}  // namespace
}  // namespace godwit::testing
