#include "app/confinement.h"

#include <gtest/gtest.h>

namespace godwit::confinement_test {
namespace {

bool keeps(CapabilitySet set, Capability one) {
  return set.contains(CapabilitySet(one));
}

TEST(NeededRights, GetFewerOnceACommandIsAtWork) {
  for (const NeededRights& rights : {rights_of_send(false), rights_of_send(true), rights_of_receive()}) {
    EXPECT_TRUE(rights.to_open.contains(rights.at_work));
    EXPECT_NE(rights.to_open, rights.at_work);
    // Without these two no guest's memory can be read, nor a failed move undone.
    EXPECT_TRUE(keeps(rights.at_work, Capability::kSysPtrace));
    EXPECT_TRUE(keeps(rights.at_work, Capability::kDacOverride));
    EXPECT_FALSE(keeps(rights.at_work, Capability::kSysAdmin));
    EXPECT_FALSE(keeps(rights.to_open, Capability::kNetAdmin));
  }
}

TEST(NeededRights, AreThoseOfTheSide) {
  EXPECT_TRUE(keeps(rights_of_send(false).to_open, Capability::kSysAdmin));
  EXPECT_FALSE(keeps(rights_of_receive().to_open, Capability::kSysAdmin));
  EXPECT_FALSE(keeps(rights_of_send(false).to_open, Capability::kKill));
  EXPECT_TRUE(keeps(rights_of_send(true).at_work, Capability::kKill));
  EXPECT_TRUE(keeps(rights_of_receive().at_work, Capability::kKill));
  EXPECT_TRUE(keeps(rights_of_receive().to_open, Capability::kNetBindService));
  EXPECT_FALSE(keeps(rights_of_receive().at_work, Capability::kNetBindService));
  EXPECT_FALSE(keeps(rights_of_send(false).to_open, Capability::kNetBindService));
}

}  // namespace
}  // namespace godwit::confinement_test
