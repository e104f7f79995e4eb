// What QEMU saves of its devices, and the stream that is made of it.
#include "vmm/qemu/saved_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vmm/stream_builder.h"

namespace godwit::qemu::saved_devices_test {
namespace {

using godwit::testing::StreamBuilder;
using ::testing::HasSubstr;

/// One device of no content.
StreamBuilder& add_device(StreamBuilder& stream) {
  return stream.be(4, 1).be(7, 4).text("timer").be(0, 4).be(2, 4).raw("content").be(0x7e, 1).be(7, 4);
}

StreamBuilder saved() {
  StreamBuilder file;
  file.header();
  add_device(file).be(0, 1);
  return file;
}

TEST(SavedDevices, BecomeAStream) {
  const auto file = saved();
  const auto sections = saved_sections(file.bytes());
  ASSERT_TRUE(sections) << sections.error().message;
  auto stream = stream_beginning("pc");
  stream.insert(stream.end(), sections->begin(), sections->end());
  const auto end = stream_end();
  stream.insert(stream.end(), end.begin(), end.end());
  StreamBuilder wanted;
  wanted.header().configuration("pc");
  add_device(wanted).be(0, 1).be(6, 1).be(0, 4);
  const Bytes bytes = wanted.bytes();
  EXPECT_EQ(stream, std::vector<std::byte>(bytes.begin(), bytes.end()));
}

TEST(SavedDevices, HaveTheGuestsClock) {
  StreamBuilder file;
  file.header().be(4, 1).be(7, 4).text("timer").be(0, 4).be(2, 4);
  file.be(111, 8).be(0, 8).be(123456789, 8).be(0x7e, 1).be(7, 4).be(0, 1);
  EXPECT_EQ(virtual_clock_in(file.bytes()), 123456789u);
  EXPECT_FALSE(virtual_clock_in(file.bytes().first(40)));
  EXPECT_FALSE(virtual_clock_in(StreamBuilder().header().bytes()));
}

TEST(SavedDevices, AreRefusedWhereTheyAreNotWhole) {
  const auto file = saved();
  for (std::size_t length = 0; length < file.bytes().size(); ++length) {
    const auto cut = saved_sections(file.bytes().first(length));
    ASSERT_FALSE(cut) << length;
    EXPECT_EQ(cut.error().kind, ErrorKind::kHypervisor);
  }
}

TEST(SavedDevices, AreRefusedWhereTheyAreSomethingElse) {
  const auto error_of = [](const StreamBuilder& file) {
    const auto sections = saved_sections(file.bytes());
    return sections ? std::string("taken") : sections.error().message;
  };
  StreamBuilder other;
  add_device(other.be(0x51455647, 4).be(3, 4)).be(0, 1);
  EXPECT_THAT(error_of(other), HasSubstr("begins otherwise"));
  StreamBuilder version;
  add_device(version.be(0x5145564d, 4).be(4, 4)).be(0, 1);
  EXPECT_THAT(error_of(version), HasSubstr("version 4"));
  StreamBuilder with_configuration;
  add_device(with_configuration.header().configuration("pc")).be(0, 1);
  EXPECT_THAT(error_of(with_configuration), HasSubstr("no device comes first"));
}

}  // namespace
}  // namespace godwit::qemu::saved_devices_test
