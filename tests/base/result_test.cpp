#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>
#include <set>

namespace godwit::result_test {
namespace {

TEST(ErrorKind, EveryKindHasANameOfItsOwn) {
  std::set<std::string_view> names;
  for (int i = 0; i <= static_cast<int>(ErrorKind::kHypervisor); ++i) {
    const auto name = name_of(static_cast<ErrorKind>(i));
    EXPECT_NE(name, "unknown") << i;
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(error_kind_from(name), static_cast<ErrorKind>(i)) << name;
  }
  EXPECT_EQ(name_of(static_cast<ErrorKind>(names.size())), "unknown") << "the last kind is another one";
}

TEST(ErrorKind, OtherNamesAreOfNoKind) {
  for (const char* name : {"", "unknown", "IO", "peer-lost ", "guest-ended"}) {
    EXPECT_EQ(error_kind_from(name), std::nullopt) << name;
  }
}

TEST(OsError, PicksTheKindThatTellsWhatToDo) {
  EXPECT_EQ(os_error("open", EPERM).kind, ErrorKind::kNoPermission);
  EXPECT_EQ(os_error("open", EACCES).kind, ErrorKind::kNoPermission);
  EXPECT_EQ(os_error("open", ENOENT).kind, ErrorKind::kNotFound);
  EXPECT_EQ(os_error("send", ECONNRESET).kind, ErrorKind::kPeerLost);
  EXPECT_EQ(os_error("send", EPIPE).kind, ErrorKind::kPeerLost);
  EXPECT_EQ(os_error("send", ETIMEDOUT).kind, ErrorKind::kPeerLost);
  EXPECT_EQ(os_error("mmap", ENOMEM).kind, ErrorKind::kIo);
  const Error error = os_error("open /dev/x", ENOENT);
  EXPECT_EQ(error.message, "open /dev/x: No such file or directory");
  EXPECT_EQ(error.os_error, ENOENT);
}

TEST(FailOs, ReadsErrno) {
  errno = EACCES;
  const Status status = fail_os("open");
  ASSERT_FALSE(status.has_value());
  EXPECT_EQ(status.error().os_error, EACCES);
}

Status refuse_odd(int number) {
  if (number % 2 != 0) return fail(ErrorKind::kRefused, "odd");
  return {};
}

Result<std::unique_ptr<int>> half_of(int number) {
  TRY_IN("half", refuse_odd(number));
  return std::make_unique<int>(number / 2);
}

Result<int> quarter_of(int number) {
  const std::unique_ptr<int> half = TRY(half_of(number));
  return *TRY(half_of(*half));
}

TEST(Try, PassesValuesOnAndReturnsErrorsWithTheirContext) {
  EXPECT_EQ(quarter_of(8), 2);
  const auto failed = quarter_of(6);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().kind, ErrorKind::kRefused);
  EXPECT_EQ(failed.error().message, "half: odd");
}

}  // namespace
}  // namespace godwit::result_test
