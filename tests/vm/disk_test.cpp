#include "vm/disk.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace godwit::disk_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

Disk file_on(Storage storage, const std::string& file_system, std::uint64_t inode) {
  Disk disk;
  disk.place = "PCI 03.0";
  disk.name = "vb";
  disk.format = "raw";
  disk.file = "/images/vm1";
  disk.size = 1 << 30;
  disk.storage = storage;
  disk.file_system = file_system;
  disk.device = 0x801;
  disk.inode = inode;
  return disk;
}
Disk local(std::uint64_t inode) {
  return file_on(Storage::kLocal, "ext4", inode);
}
Disk nfs(std::uint64_t inode) {
  return file_on(Storage::kShared, "nfs", inode);
}
Disk block(const std::string& id, std::uint64_t device) {
  Disk disk = file_on(Storage::kBlock, "", 0);
  disk.device = device;
  disk.block_id = id;
  return disk;
}
Disk address(const std::string& uri) {
  Disk disk = file_on(Storage::kUnknown, "", 0);
  disk.file = uri;
  return disk;
}
Disk read_only(Disk disk) {
  disk.read_only = true;
  return disk;
}

Disk of_format(const std::string& format, Disk disk) {
  disk.format = format;
  return disk;
}

enum class Says { kNothing, kWarning, kRefusal };

struct Case {
  std::string name;
  Disk source, sink;
  bool same_host;
  SampleMatch match;
  Says says;
};

TEST(Disks, WhatIsTheSameAndWhatIsNot) {
  const SampleMatch none, all{16, 16}, most{13, 16}, few{1, 16}, nearly_empty{0, 3};
  const Case cases[] = {
      {"one host, the file itself", local(5), local(5), true, all, Says::kNothing},
      {"one host, its guest writes meanwhile", local(5), local(5), true, few, Says::kNothing},
      {"one host, a copy", local(5), local(6), true, all, Says::kRefusal},
      {"one host, an empty one", local(5), local(6), true, few, Says::kRefusal},
      {"one host, one device twice", block("", 7), block("", 7), true, none, Says::kNothing},
      {"one host, two paths to one device", block("naa.5", 7), block("naa.5", 8), true, none, Says::kNothing},
      {"one host, two devices", block("naa.5", 7), block("naa.6", 8), true, all, Says::kRefusal},
      {"one host, two devices without names", block("", 7), block("", 8), true, all, Says::kWarning},
      {"two hosts, NFS", nfs(5), nfs(5), false, all, Says::kNothing},
      {"two hosts, two NFS servers that number alike", nfs(5), nfs(5), false, few, Says::kRefusal},
      {"two hosts, two disks of one serial number", block("QM1", 7), block("QM1", 7), false, few, Says::kRefusal},
      {"two hosts, a file of each behind a json: name", address(R"(json:{"file":{"filename":"/var/a"}})"),
       address(R"(json:{"file":{"filename":"/var/a"}})"), false, none, Says::kWarning},
      {"two hosts, NFS, a copy", nfs(5), nfs(6), false, all, Says::kRefusal},
      {"two hosts, NFS and CephFS", nfs(5), file_on(Storage::kShared, "ceph", 6), false, all, Says::kWarning},
      {"two hosts, the server and its client", local(5), nfs(5), false, all, Says::kNothing},
      {"two hosts, another server's client", local(5), nfs(6), false, most, Says::kWarning},
      {"two hosts, another server's client, other content", local(5), nfs(6), false, few, Says::kRefusal},
      {"two hosts, a file of each", local(5), local(5), false, all, Says::kRefusal},
      {"two hosts, a medium of each that is only read", read_only(local(5)), read_only(local(6)), false, all,
       Says::kNothing},
      {"two hosts, a medium of each, not the same", read_only(local(5)), read_only(local(6)), false, most,
       Says::kRefusal},
      {"two hosts, one world-wide name", block("naa.5", 7), block("naa.5", 9), false, all, Says::kNothing},
      {"two hosts, two names", block("naa.5", 7), block("naa.6", 7), false, all, Says::kRefusal},
      {"two hosts, no names", block("", 7), block("", 7), false, all, Says::kWarning},
      {"two hosts, one tells a world-wide name, the other a serial number", block("naa.5", 7), block("QM1", 7), false,
       all, Says::kWarning},
      {"two hosts, one by multipath, one by a path, one name", block("mpath-3500a0b", 7), block("naa.500a0b", 9), false,
       all, Says::kNothing},
      {"two hosts, one by multipath, one by a path, two names", block("mpath-3500a0b", 7), block("naa.500a0c", 9),
       false, all, Says::kRefusal},
      {"two hosts, a logical volume and a SCSI disk", block("LVM-abc", 7), block("naa.5", 7), false, all,
       Says::kWarning},
      {"two hosts, two logical volumes", block("LVM-abc", 7), block("LVM-abd", 7), false, all, Says::kRefusal},
      {"two hosts, one encrypted disk that each calls otherwise", block("CRYPT-LUKS2-1f-vm1", 7),
       block("CRYPT-LUKS2-1f-root", 7), false, all, Says::kNothing},
      {"two hosts, a name and none", block("naa.5", 7), block("", 7), false, all, Says::kWarning},
      {"two hosts, no names, a nearly empty disk that its guest writes", block("", 7), block("", 7), false,
       nearly_empty, Says::kWarning},
      {"two hosts, NFS, a nearly empty disk that its guest writes", nfs(5), nfs(5), false, nearly_empty,
       Says::kNothing},
      {"two hosts, CIFS that does not number its files", file_on(Storage::kUnknown, "cifs", 5),
       file_on(Storage::kUnknown, "cifs", 6), false, all, Says::kWarning},
      {"two hosts, one node with a raw layer and one without", nfs(5), of_format("file", nfs(5)), false, all,
       Says::kNothing},
      {"two hosts, no names, other content", block("", 7), block("", 7), false, few, Says::kRefusal},
      {"two hosts, one address", address("nbd://store/vm1"), address("nbd://store/vm1"), false, none, Says::kNothing},
      {"two hosts, each its own", address("nbd://localhost/vm1"), address("nbd://localhost/vm1"), false, none,
       Says::kWarning},
      {"two hosts, two addresses", address("nbd://store/vm1"), address("nbd://store.lan/vm1"), false, none,
       Says::kWarning},
      {"FUSE", file_on(Storage::kUnknown, "fuse", 5), file_on(Storage::kUnknown, "fuse", 6), false, all,
       Says::kWarning},
  };
  for (const auto& one : cases) {
    const auto found = compare_disks({one.source}, {one.sink}, one.same_host, {DiskMatch{one.match, {}}});
    EXPECT_THAT(found.refusals, SizeIs(one.says == Says::kRefusal ? 1 : 0)) << one.name;
    EXPECT_THAT(found.warnings, SizeIs(one.says == Says::kWarning ? 1 : 0)) << one.name;
  }
}

TEST(Disks, WhatTheGuestWouldNoticeIsRefusedWithBothValues) {
  const struct {
    std::function<void(Disk&)> change;
    std::string source, sink;
  } cases[] = {
      {[](Disk& d) { d.size = 1 << 29; }, "1073741824 bytes at the source", "536870912 bytes at the sink"},
      {[](Disk& d) { d.inserted = false; }, "'/images/vm1' at the source", "nothing at the sink"},
      {[](Disk& d) { d.read_only = true; }, "writable at the source", "read-only at the sink"},
      {[](Disk& d) { d.format = "qcow2", d.inode = 6; }, "raw at the source", "qcow2 at the sink"},
      {[](Disk& d) { d.place = "PCI 04.0", d.name = "other"; }, "'vb' at PCI 03.0", "missing at the sink"},
  };
  for (const auto& one : cases) {
    Disk sink = local(5);
    one.change(sink);
    const auto found = compare_disks({local(5)}, {sink}, true, {});
    EXPECT_THAT(found.refusals,
                ElementsAre(AllOf(HasSubstr(one.source), HasSubstr(one.sink), HasSubstr("--any-disks"))));
  }
}

TEST(Disks, TwoThatAreSwappedAreNamed) {
  std::vector<Disk> source = {nfs(5), nfs(6)};
  source[1].place = "PCI 04.0";
  source[1].name = "data";
  auto sink = source;
  std::swap(sink[0].inode, sink[1].inode);
  const auto found = compare_disks(source, sink, false, {});
  EXPECT_THAT(found.refusals, ElementsAre(AllOf(HasSubstr("'vb'"), HasSubstr("'data'")),
                                          AllOf(HasSubstr("'data'"), HasSubstr("'vb'"))));
  // Addresses prove no difference, but they prove that it is the other one.
  source = {address("nbd://store/a"), address("nbd://store/b")};
  source[1].place = "PCI 04.0";
  sink = source;
  std::swap(sink[0].file, sink[1].file);
  EXPECT_THAT(compare_disks(source, sink, false, {}).refusals, SizeIs(2));
}

/// An overlay on NFS that both hosts open, on base images that may be anywhere.
Disk overlay(std::vector<Disk> layers) {
  Disk disk = nfs(9);
  disk.format = "qcow2";
  disk.layers_told = true;
  for (Disk& layer : layers) layer.read_only = true;
  disk.layers = std::move(layers);
  return disk;
}

TEST(Disks, WhatLiesUnderAnOverlayIsComparedToo) {
  const SampleMatch none, all{16, 16}, most{13, 16}, one_of_two{1, 2};
  Disk smaller = nfs(5);
  smaller.size = 1 << 20;
  Disk silent = file_on(Storage::kUnknown, "", 0);
  silent.silent = true;
  const struct {
    const char* name;
    std::vector<Disk> source, sink;
    bool same_host;
    SampleMatch match;
    Says says;
  } cases[] = {
      {"no layers", {}, {}, false, none, Says::kNothing},
      {"one base", {nfs(5)}, {nfs(5)}, false, all, Says::kNothing},
      {"one base that nobody read", {nfs(5)}, {nfs(5)}, false, none, Says::kNothing},
      {"the same base on one host", {local(5)}, {local(5)}, true, none, Says::kNothing},
      {"a copy of the base at each host", {local(5)}, {local(6)}, false, all, Says::kNothing},
      {"a copy that nobody could read", {local(5)}, {local(6)}, false, none, Says::kWarning},
      {"another base", {local(5)}, {local(6)}, false, most, Says::kRefusal},
      {"another base of which little can be seen", {local(5)}, {local(6)}, false, one_of_two, Says::kRefusal},
      {"another base on one host", {local(5)}, {local(6)}, true, most, Says::kRefusal},
      {"a base of another size", {nfs(5)}, {smaller}, false, all, Says::kRefusal},
      {"a base in another format", {nfs(5)}, {of_format("qcow2", nfs(5))}, false, all, Says::kRefusal},
      {"a base less", {nfs(5), nfs(6)}, {nfs(5)}, false, all, Says::kRefusal},
      {"no base", {nfs(5)}, {}, false, all, Says::kRefusal},
      {"a base on storage that does not answer", {nfs(5)}, {silent}, false, none, Says::kWarning},
  };
  for (const auto& one : cases) {
    const std::vector<SampleMatch> matches(one.source.size(), one.match);
    const auto found =
        compare_disks({overlay(one.source)}, {overlay(one.sink)}, one.same_host, {DiskMatch{{16, 16}, matches}});
    EXPECT_THAT(found.refusals, SizeIs(one.says == Says::kRefusal ? 1 : 0)) << one.name;
    EXPECT_THAT(found.warnings, SizeIs(one.says == Says::kWarning ? 1 : 0)) << one.name;
  }
  // A side that does not tell is not contradicted.
  Disk older = overlay({});
  older.layers_told = false;
  EXPECT_THAT(compare_disks({older}, {overlay({nfs(5)})}, false, {}).refusals, IsEmpty());
}

TEST(Disks, AnImageUnderAnOverlayIsNamed) {
  const auto found = compare_disks({overlay({nfs(5), local(7)})}, {overlay({nfs(5), local(8)})}, false,
                                   {DiskMatch{{}, {{16, 16}, {2, 16}}}});
  EXPECT_THAT(found.refusals,
              ElementsAre(AllOf(HasSubstr("backing image 2 of 2 of disk 'vb' at PCI 03.0"), HasSubstr("inode 7"),
                                HasSubstr("inode 8"), HasSubstr("2 of 16"), HasSubstr("--any-disks"))));
  const auto shorter = compare_disks({overlay({nfs(5), local(7)})}, {overlay({nfs(5)})}, false, {});
  EXPECT_THAT(shorter.refusals, ElementsAre(AllOf(HasSubstr("2 backing images at the source"),
                                                  HasSubstr("1 at the sink"), HasSubstr("--any-disks"))));
}

TEST(Disks, StorageThatDoesNotAnswerIsSaidAndRefusesNothing) {
  Disk silent = file_on(Storage::kUnknown, "", 0);
  silent.silent = true;
  const auto found = compare_disks({silent}, {nfs(5)}, false, {});
  EXPECT_THAT(found.refusals, IsEmpty());
  EXPECT_THAT(found.warnings, ElementsAre(AllOf(HasSubstr("disk 'vb'"), HasSubstr("does not answer"))));
}

TEST(Disks, FirmwareFilesMayBeOthersAndEmptyDrivesFit) {
  Disk flash = local(5);
  flash.firmware = true;
  Disk other = local(6);
  other.firmware = true;
  EXPECT_THAT(compare_disks({flash}, {other}, false, {}).refusals, IsEmpty());
  other.size = 4096;
  EXPECT_THAT(compare_disks({flash}, {other}, false, {}).refusals, SizeIs(1));
  Disk empty;
  empty.place = "PCI 01.1 / IDE 1.0";
  empty.inserted = false;
  EXPECT_THAT(compare_disks({empty}, {empty}, false, {}).refusals, IsEmpty());
}

TEST(UnsafeCaches, AreNamed) {
  Disk cached = nfs(5);
  EXPECT_THAT(unsafe_caches({cached}), ElementsAre(AllOf(HasSubstr("'vb'"), HasSubstr("cache.direct=on"))));
  cached.direct = true;
  EXPECT_THAT(unsafe_caches({cached}), IsEmpty());
  cached.no_flush = true;
  EXPECT_THAT(unsafe_caches({cached}), ElementsAre(HasSubstr("no-flush")));
  EXPECT_THAT(unsafe_caches({read_only(cached)}), IsEmpty());
  EXPECT_THAT(unsafe_caches({block("naa.5", 7)}), SizeIs(1));
  EXPECT_THAT(unsafe_caches({file_on(Storage::kShared, "ceph", 5), local(5)}), IsEmpty());
}

}  // namespace
}  // namespace godwit::disk_test
