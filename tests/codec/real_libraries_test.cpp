// The real libraries on a host without a device, where tools/fetch_accelerators has brought them: refused in a
// sentence.
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "codec/accelerator.h"

namespace godwit::real_libraries_test {
namespace {

const std::string kFolder = std::string(GODWIT_ACCELERATORS) + "/lib/";
const char* const kNotFetched = "it is not in build/accelerators: run tools/fetch_accelerators";

/// What a library needs is beside it, and not where the system looks.
void load_beside(const char* name) {
  (void)::dlopen((kFolder + name).c_str(), RTLD_NOW | RTLD_GLOBAL);
}

TEST(RealLibraries, QatzipIsRefusedWithoutADevice) {
  const std::string library = kFolder + "libqatzip.so.3";
  if (!std::filesystem::exists(library)) GTEST_SKIP() << kNotFetched;
  if (std::filesystem::exists("/sys/bus/pci/drivers/4xxx")) GTEST_SKIP() << "this host may have a device";
  load_beside("libusdm.so.0");
  load_beside("libqat.so.4");
  for (int again = 0; again < 2; ++again) {
    const auto opened = open_qat({.library = library});
    ASSERT_FALSE(opened);
    EXPECT_EQ(opened.error().kind, ErrorKind::kUnsupported);
    EXPECT_NE(opened.error().message.find("QATzip finds no QAT device"), std::string::npos) << opened.error().message;
  }
}

TEST(RealLibraries, QplIsRefusedWithoutADevice) {
  const std::string library = kFolder + "libqpl.so.1";
  if (!std::filesystem::exists(library)) GTEST_SKIP() << kNotFetched;
  if (std::filesystem::exists("/sys/bus/dsa/devices/iax1")) GTEST_SKIP() << "this host may have a device";
  const auto opened = open_iaa({.library = library});
  ASSERT_FALSE(opened);
  if (opened.error().message.find("GLIBC") != std::string::npos) GTEST_SKIP() << opened.error().message;
  EXPECT_EQ(opened.error().kind, ErrorKind::kUnsupported);
  // Which of them depends on what this host has of the driver.
  bool says_why = false;
  for (const char* const why : {"QPL does not support IAA", "QPL finds no libaccel-config", "libaccel-config fails",
                                "no IAA work queue of type `user` is enabled"}) {
    says_why |= opened.error().message.find(why) != std::string::npos;
  }
  EXPECT_TRUE(says_why) << opened.error().message;
}

}  // namespace
}  // namespace godwit::real_libraries_test
