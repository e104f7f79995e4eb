#include "vm/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace godwit::fit_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Fingerprint sample() {
  Fingerprint vm;
  vm.vm_name = "web";
  vm.uuid = "12345678-1234-1234-1234-123456789abc";
  vm.boot_id = "this";
  Disk disk;
  disk.name = "vb";
  disk.size = 4096;
  disk.storage = Storage::kLocal;
  disk.device = 1;
  disk.inode = 5;
  vm.disks = {disk};
  return vm;
}

TEST(Fit, EqualVmsFit) {
  const auto found = fit(sample(), sample(), {}, {});
  EXPECT_THAT(found.refusals, IsEmpty());
  EXPECT_THAT(found.warnings, IsEmpty());
}

TEST(Fit, AnotherVmIsRefusedUnlessAnyWillDo) {
  Fingerprint sink = sample();
  sink.vm_name = "db";
  sink.uuid = "87654321-1234-1234-1234-123456789abc";
  EXPECT_THAT(
      fit(sample(), sink, {}, {}).refusals,
      ElementsAre(AllOf(HasSubstr("UUID"), HasSubstr("'12345678-"), HasSubstr("'87654321-"), HasSubstr("--any-vm")),
                  AllOf(HasSubstr("name"), HasSubstr("'web'"), HasSubstr("'db'"))));
  EXPECT_THAT(fit(sample(), sink, {.any_vm = true}, {}).refusals, IsEmpty());
  EXPECT_THAT(fit(sample(), sink, {.any_disks = true}, {}).refusals, ::testing::SizeIs(2));
}

TEST(Fit, AVmThatHasNoNameOrUuidIsNoOther) {
  Fingerprint sink = sample();
  sink.vm_name.clear();
  sink.uuid.clear();
  EXPECT_THAT(fit(sample(), sink, {}, {}).refusals, IsEmpty());
  EXPECT_THAT(fit(sink, sample(), {}, {}).refusals, IsEmpty());
}

TEST(Fit, OtherDisksAreRefusedUnlessAnyWillDo) {
  Fingerprint sink = sample();
  sink.disks[0].inode = 6;
  EXPECT_THAT(fit(sample(), sink, {}, {}).refusals, ElementsAre(HasSubstr("'vb'")));
  const auto lenient = fit(sample(), sink, {.any_disks = true}, {});
  EXPECT_THAT(lenient.refusals, IsEmpty());
  EXPECT_THAT(lenient.warnings, ElementsAre(HasSubstr("'vb'")));
}

TEST(Fit, ContentIsReadForTheDiskAtTheSamePlace) {
  Fingerprint source = sample();
  Fingerprint sink = sample();
  sink.boot_id = "that";
  source.disks[0].storage = sink.disks[0].storage = Storage::kBlock;
  const auto answer = [](unsigned equal) {
    return [equal](const Disk& a, const Disk& b) {
      EXPECT_EQ(a.name, b.name);
      return DiskMatch{{equal, 16}, {}};
    };
  };
  EXPECT_THAT(fit(source, sink, {}, answer(0)).refusals, ElementsAre(HasSubstr("0 of 16")));
  EXPECT_THAT(fit(source, sink, {}, answer(16)).warnings, ElementsAre(HasSubstr("cannot be told")));
}

TEST(Fit, WhereTheHostsCannotBeToldALocalFileProvesNothing) {
  Fingerprint source = sample();
  Fingerprint sink = sample();
  sink.boot_id.clear();
  const auto found = fit(source, sink, {}, {});
  EXPECT_THAT(found.refusals, IsEmpty());
  EXPECT_THAT(found.warnings, ElementsAre(HasSubstr("cannot be told")));
}

TEST(Fit, ASourceThatListsNoDisksIsNotAsked) {
  Fingerprint source = sample();
  source.disks.clear();
  EXPECT_THAT(fit(source, sample(), {}, {}).refusals, IsEmpty());
}

}  // namespace
}  // namespace godwit::fit_test
