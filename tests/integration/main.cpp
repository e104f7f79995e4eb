// Where the tests find what the build made, unless the environment says otherwise.
#include <gtest/gtest.h>

#include <cstdlib>

int main(int count, char** arguments) {
  ::testing::InitGoogleTest(&count, arguments);
  ::setenv("GODWIT_BINARY", GODWIT_DEFAULT_BINARY, 0);
  ::setenv("GODWIT_TEST_GUEST", GODWIT_DEFAULT_GUEST, 0);
  ::setenv("GODWIT_CONFINE", GODWIT_DEFAULT_CONFINE, 0);
  ::setenv("GODWIT_SOURCE", GODWIT_DEFAULT_SOURCE, 0);
  ::setenv("GODWIT_QEMU_10", GODWIT_DEFAULT_QEMU_10, 0);
  return RUN_ALL_TESTS();
}
