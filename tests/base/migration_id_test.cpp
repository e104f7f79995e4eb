#include "base/migration_id.h"

#include <gtest/gtest.h>
#include <pthread.h>

#include <array>
#include <set>
#include <thread>

namespace godwit {
namespace {

TEST(MigrationId, IsRandomAndShort) {
  std::set<std::string> ids;
  for (int i = 0; i < 100; ++i) {
    const auto id = random_migration_id();
    ASSERT_TRUE(id);
    EXPECT_EQ(id->size(), 12U);
    EXPECT_TRUE(is_migration_id(*id)) << *id;
    ids.insert(*id);
  }
  EXPECT_EQ(ids.size(), 100U);
}

TEST(MigrationId, HasOnlyDigitsAndABoundedLength) {
  EXPECT_TRUE(is_migration_id("0"));
  EXPECT_TRUE(is_migration_id("0123456789abcdef"));
  EXPECT_TRUE(is_migration_id(std::string(64, 'f')));
  EXPECT_FALSE(is_migration_id(""));
  EXPECT_FALSE(is_migration_id(std::string(65, 'f')));
  EXPECT_FALSE(is_migration_id("3F2A"));
  EXPECT_FALSE(is_migration_id("3f2a\n"));
  EXPECT_FALSE(is_migration_id("3f-2a"));
}

std::string named(std::string_view id, std::string_view what) {
  std::array<char, 16> name{};
  std::thread([&] {
    name_thread(id, what);
    ::pthread_getname_np(::pthread_self(), name.data(), name.size());
  }).join();
  return name.data();
}

TEST(MigrationId, ThreadsHaveItsBeginningInTheirName) {
  EXPECT_EQ(named("3f2a9c01d4e7", "lane0"), "gw-3f2a-lane0");
  EXPECT_EQ(named("3f2a9c01d4e7", "lane63"), "gw-3f2a-lane63");
  EXPECT_EQ(named("3f2a9c01d4e7", "coordinator"), "gw-3f2a-coordin");
  EXPECT_EQ(named("", "greeter"), "gw-greeter");
}

}  // namespace
}  // namespace godwit
