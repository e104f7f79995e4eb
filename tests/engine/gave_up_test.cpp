// What the source makes of a sink's Abort.
#include <gtest/gtest.h>

#include "engine/sink_session.h"

namespace godwit::gave_up_test {
namespace {

TEST(WhyTheSinkGaveUp, IsOfTheKindThatItNames) {
  for (const auto kind : {ErrorKind::kIo, ErrorKind::kHypervisor, ErrorKind::kCancelled, ErrorKind::kPeerLost}) {
    const Error error = why_the_sink_gave_up({std::string(name_of(kind)), "no memory"});
    EXPECT_EQ(error.kind, kind);
    EXPECT_TRUE(error.at_peer);
    EXPECT_EQ(error.message, "the destination gave up: no memory");
  }
}

TEST(WhyTheSinkGaveUp, IsARefusalWhereItNamesNoKindThatIsKnown) {
  for (const char* kind : {"", "out-of-cheese", "unknown", "guest-ended"}) {
    EXPECT_EQ(why_the_sink_gave_up({kind, "no"}).kind, ErrorKind::kRefused) << kind;
  }
}

}  // namespace
}  // namespace godwit::gave_up_test
