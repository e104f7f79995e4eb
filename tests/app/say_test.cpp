#include "app/say.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

namespace godwit::say_test {
namespace {

TEST(Say, AFullDiskIsNoReasonToEnd) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> full(std::fopen("/dev/full", "w"), std::fclose);
  ASSERT_TRUE(full);
  say(full.get(), std::string(1 << 20, 'x'));
  EXPECT_TRUE(std::ferror(full.get())) << "it could be written";
}

TEST(Say, WritesAllOfIt) {
  char* text = nullptr;
  std::size_t size = 0;
  std::FILE* const file = ::open_memstream(&text, &size);
  say(file, "one\n");
  say(file, "two\n");
  std::fclose(file);
  EXPECT_EQ(std::string(text, size), "one\ntwo\n");
  std::free(text);
}

}  // namespace
}  // namespace godwit::say_test
