#include "app/own_rights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::own_rights_test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr const char* kFull = "Name:\tgodwit\nCapEff:\t000001ffffffffff\nSeccomp:\t0\n";
constexpr const char* kHostMap = "         0          0 4294967295";

TEST(OwnRights, RootOfTheHostIsConfinedByNothing) {
  const OwnRights rights = parse_own_rights(0, kFull, kHostMap, "1", "unconfined\n");
  EXPECT_TRUE(rights.root);
  EXPECT_THAT(rights.lacks, IsEmpty());
  EXPECT_FALSE(rights.in_user_namespace || rights.ptrace_off || rights.seccomp || rights.module_profile);
}

TEST(OwnRights, WhatTakesRightsFromRootIsFound) {
  // A container's usual set: CAP_DAC_OVERRIDE, and no CAP_SYS_PTRACE.
  const OwnRights container = parse_own_rights(0, "CapEff:\t00000000a80425fb\nSeccomp:\t2\n", "0 100000 65536", "3",
                                               "docker-default (enforce)");
  EXPECT_THAT(container.lacks, ElementsAre("CAP_SYS_PTRACE"));
  EXPECT_TRUE(container.in_user_namespace && container.ptrace_off && container.seccomp && container.module_profile);
  EXPECT_THAT(parse_own_rights(0, "CapEff:\t0000000000000000\n", kHostMap, "", "").lacks,
              ElementsAre("CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"));
}

TEST(OwnRights, TextsThatSayNothingAccuseNobody) {
  const OwnRights rights = parse_own_rights(1000, "", "", "", "");
  EXPECT_FALSE(rights.root);
  EXPECT_THAT(rights.lacks, IsEmpty());
  EXPECT_FALSE(rights.in_user_namespace || rights.ptrace_off || rights.seccomp || rights.module_profile);
  const char* harmless[] = {"unconfined_u:unconfined_r:unconfined_t:s0-s0:c0.c1023", "kernel", "mine (complain)"};
  for (const char* profile : harmless) {
    EXPECT_FALSE(parse_own_rights(0, kFull, kHostMap, "0", profile).module_profile) << profile;
  }
  EXPECT_TRUE(parse_own_rights(0, kFull, kHostMap, "0", "system_u:system_r:svirt_t:s0:c1,c2").module_profile);
}

}  // namespace
}  // namespace godwit::own_rights_test
