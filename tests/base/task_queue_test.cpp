#include "base/task_queue.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <new>
#include <system_error>
#include <vector>

#include "base/without_exceptions.h"

namespace godwit::task_queue_test {
namespace {

using namespace std::chrono_literals;

TEST(TaskQueue, DoesAllInOrderBeforeItGoes) {
  std::vector<int> done;
  {
    TaskQueue queue(10);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(queue.add([&, i] { done.push_back(i); }));
  }
  EXPECT_EQ(done, (std::vector<int>{0, 1, 2, 3, 4}));
}

TEST(TaskQueue, HoldsUpNobodyWhileATaskBlocks) {
  std::promise<void> go_on;
  const auto may_go_on = go_on.get_future().share();
  std::atomic<int> done = 0;
  TaskQueue queue(2);
  std::promise<void> blocks;
  EXPECT_TRUE(queue.add([&, may_go_on] {
    blocks.set_value();
    may_go_on.wait();
  }));
  blocks.get_future().wait();
  EXPECT_TRUE(queue.add([&] { ++done; }));
  EXPECT_TRUE(queue.add([&] { ++done; }));
  EXPECT_FALSE(queue.add([&] { ++done; })) << "it is full";
  EXPECT_EQ(queue.take_dropped(), 1U);
  EXPECT_EQ(queue.take_dropped(), 0U);
  EXPECT_FALSE(queue.await_idle(10ms));
  go_on.set_value();
  EXPECT_TRUE(queue.await_idle(20s));
  EXPECT_EQ(done, 2);
}

TEST(TaskQueue, MayBeLeftWithATaskThatBlocks) {
  auto go_on = std::make_shared<std::promise<void>>();
  auto ended = std::make_shared<std::promise<void>>();
  {
    TaskQueue queue(2);
    EXPECT_TRUE(queue.add([go_on, ended] {
      go_on->get_future().wait();
      ended->set_value();
    }));
    queue.leave(10ms);
    EXPECT_FALSE(queue.add([] {}));
  }
  go_on->set_value();
  EXPECT_EQ(ended->get_future().wait_for(20s), std::future_status::ready);
}

TEST(WithoutExceptions, GivesAnErrorInTheirPlace) {
  EXPECT_TRUE(without_exceptions([]() -> Status { return {}; }));
  const Status no_thread =
      without_exceptions([]() -> Status { throw std::system_error(EAGAIN, std::generic_category()); });
  ASSERT_FALSE(no_thread);
  EXPECT_EQ(no_thread.error().kind, ErrorKind::kIo);
  EXPECT_EQ(no_thread.error().os_error, EAGAIN);
  EXPECT_FALSE(without_exceptions([]() -> Status { throw std::bad_alloc(); }));
  EXPECT_EQ(without_exceptions([]() -> Result<int> { return 7; }).value_or(0), 7);
}

}  // namespace
}  // namespace godwit::task_queue_test
