#include "vmm/qemu/obstacles.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vmm/scripted_qmp.h"
#include "vmm/qemu/disk_queues.h"
#include "vmm/qemu/disks.h"

namespace godwit::qemu::obstacles_test {
namespace {

using godwit::testing::ScriptedQmp;
using ::testing::HasSubstr;

/// A VM without obstacles.
ScriptedQmp plain_vm() {
  ScriptedQmp qmp;
  qmp.set_text("query-status", R"({"status": "running", "running": true})");
  qmp.set_text("query-migrate", "{}");
  qmp.set_text("qom-list",
               R"([{"name": "type", "type": "string"}, {"name": "net0", "type": "child<virtio-net-pci>"}])");
  qmp.set("human-monitor-command command-line=info network",
          "virtio-net-pci.0: index=0,type=nic,model=virtio-net-pci\r\n \\ n0: index=0,type=tap,ifname=tap0\r\n");
  qmp.set_text("query-named-block-nodes", "[]");
  qmp.set_text("query-memory-devices", "[]");
  qmp.set_text("qom-get path=/machine property=confidential-guest-support", R"("")");
  qmp.set_text("query-sev", R"({"enabled": false})");
  qmp.set_text("query-jobs", "[]");
  qmp.set_text("query-block-exports", "[]");
  return qmp;
}

struct Case {
  const char* command;
  const char* answer;
  const char* what;
};

TEST(Obstacles, NoneForAPlainVm) {
  auto qmp = plain_vm();
  const auto found = ask_for_obstacles(qmp, {});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(found->empty());
}

TEST(Obstacles, AreNamed) {
  const Case cases[] = {
      {"query-status", R"({"status": "postmigrate"})", "state 'postmigrate'"},
      {"query-status", R"({"status": "internal-error"})", "state 'internal-error'"},
      {"query-migrate", R"({"status": "active"})", "under way ('active')"},
      {"query-migrate", R"({"status": "postcopy-active"})", "under way ('postcopy-active')"},
      {"query-migrate", R"({"blocked-reasons": ["a device says no"]})", "QEMU will not"},
      {"qom-list path=/machine/peripheral", R"([{"name": "gpu", "type": "child<vfio-pci>"}])", "vfio-pci device 'gpu'"},
      {"qom-list path=/machine/peripheral", R"([{"name": "fs", "type": "child<vhost-user-fs-pci>"}])",
       "vhost-user-fs-pci device 'fs'"},
      {"qom-list path=/machine/peripheral", R"([{"name": "s", "type": "child<vhost-scsi-pci>"}])",
       "vhost-scsi-pci device 's'"},
      {"qom-list path=/machine/peripheral-anon", R"([{"name": "device[0]", "type": "child<ivshmem-plain>"}])",
       "ivshmem-plain device 'device[0]'"},
      {"qom-list path=/objects", R"([{"name": "c0", "type": "child<cryptodev-vhost-user>"}])",
       "cryptodev-vhost-user object 'c0'"},
      {"human-monitor-command command-line=info network",
       R"("virtio-net-pci.0: index=0,type=nic\r\n \\ n1: index=0,type=vhost-user,x\r\n")", "vhost-user network 'n1'"},
      {"human-monitor-command command-line=info network", R"("n2: index=0,type=vhost-vdpa,x")",
       "vhost-vdpa network 'n2'"},
      {"query-named-block-nodes", R"([{"drv": "nvme", "node-name": "d0"}])", "block driver nvme of 'd0'"},
      {"query-memory-devices", R"([{"type": "dimm", "data": {"id": "dimm0"}}])", "memory device dimm 'dimm0'"},
      {"qom-get path=/machine property=confidential-guest-support", R"("/objects/sev0")", "'/objects/sev0'"},
      {"query-sev", R"({"enabled": true})", "memory encryption"},
      {"query-jobs", R"([{"id": "j0", "type": "mirror", "status": "running"}])", "job 'j0' (mirror, running)"},
      {"query-jobs", R"([{"id": "j1", "type": "backup", "status": "paused"}])", "job 'j1' (backup, paused)"},
      {"query-jobs", R"([{"id": "j2", "type": "snapshot-save", "status": "running"},
                         {"id": "j3", "type": "create", "status": "concluded"}])",
       "job 'j2' (snapshot-save, running)"},
      {"query-block-exports", R"([{"id": "e0", "type": "nbd", "node-name": "#block641"}])",
       "nbd export 'e0' of block node '#block641'"},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.what);
    auto qmp = plain_vm();
    qmp.set_text(one.command, one.answer);
    const auto found = ask_for_obstacles(qmp, {});
    ASSERT_TRUE(found) << found.error().message;
    ASSERT_EQ(found->size(), 1u);
    EXPECT_THAT(found->front().what, HasSubstr(one.what));
    EXPECT_NE(found->front().why, "");
  }
}

// As QEMU 7.2 and 10.0 tell of a disk that is exported for writing and one that is exported for reading.
constexpr const char* kGraph = R"({"edges": [
    {"name": "file", "parent": 2, "perm": ["resize", "write", "consistent-read"], "child": 11},
    {"name": "root", "parent": 8, "perm": ["consistent-read"], "child": 6},
    {"name": "root", "parent": 7, "perm": ["write", "consistent-read"], "child": 2},
    {"name": "root", "parent": 5, "perm": ["write", "consistent-read"], "child": 6},
    {"name": "root", "parent": 1, "perm": ["write", "consistent-read"], "child": 2}], "nodes": [
    {"name": "#block641", "type": "block-driver", "id": 2}, {"name": "#block571", "type": "block-driver", "id": 11},
    {"name": "f1", "type": "block-driver", "id": 6}, {"name": "", "type": "block-backend", "id": 8},
    {"name": "", "type": "block-backend", "id": 7},
    {"name": "/machine/peripheral-anon/device[0]", "type": "block-backend", "id": 5},
    {"name": "d0", "type": "block-backend", "id": 1}]})";

TEST(Obstacles, OnlyWritableExportsStandInTheWay) {
  auto qmp = plain_vm();
  qmp.set_text("query-block", R"([{"device": "d0"}, {"device": "", "qdev": "/machine/peripheral-anon/device[0]"}])");
  qmp.set_text("x-debug-query-block-graph", kGraph);
  qmp.set_text("query-block-exports", R"([{"id": "r", "type": "nbd", "node-name": "f1"},
                                          {"id": "w", "type": "vhost-user-blk", "node-name": "#block641"}])");
  const auto found = ask_for_obstacles(qmp, {});
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().what, "vhost-user-blk export 'w' of block node '#block641'");
  EXPECT_THAT(found->front().why, HasSubstr("others can write"));
  EXPECT_THAT(found->front().why, HasSubstr("block-export-del id=w"));
}

// Looked for again before the hand-over: whether the guest still runs is asked elsewhere.
TEST(Obstacles, NewOnesAreFoundWhateverTheState) {
  const auto process = RemoteProcess::open(::getpid());
  ASSERT_TRUE(process) << process.error().message;
  auto qmp = plain_vm();
  qmp.set_text("query-status", R"({"status": "shutdown"})");
  auto found = find_new_obstacles(qmp, *process, {}, false);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(found->empty());
  qmp.set_text("query-migrate", R"({"blocked-reasons": ["a device says no"]})");
  qmp.set_text("query-jobs", R"([{"id": "j0", "type": "commit", "status": "ready"}])");
  found = find_new_obstacles(qmp, *process, {}, false);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 2u);
  EXPECT_EQ((*found)[0].why, "a device says no");
  EXPECT_EQ((*found)[1].what, "job 'j0' (commit, ready)");
}

TEST(Obstacles, AMigrationThatIsOursIsNone) {
  const auto process = RemoteProcess::open(::getpid());
  ASSERT_TRUE(process) << process.error().message;
  auto qmp = plain_vm();
  qmp.set_text("query-migrate", R"({"status": "active", "blocked-reasons": ["a device says no"]})");
  auto found = find_new_obstacles(qmp, *process, {}, false);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(found->size(), 2u);
  found = find_new_obstacles(qmp, *process, {}, true);
  ASSERT_TRUE(found) << found.error().message;
  ASSERT_EQ(found->size(), 1u);
  EXPECT_EQ(found->front().why, "a device says no");
}

TEST(Obstacles, ABackendThatIsNoMainMemory) {
  auto qmp = plain_vm();
  Ram ram;
  ram.unplaced = {"shm0"};
  const auto found = ask_for_obstacles(qmp, ram);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->size(), 1u);
  EXPECT_THAT(found->front().what, HasSubstr("'shm0'"));
}

// A QEMU that waits for a VM has a migration in state "setup", and lacks some commands.
TEST(Obstacles, NoneForAWaitingVm) {
  auto qmp = plain_vm();
  qmp.set_text("query-status", R"({"status": "inmigrate"})");
  qmp.set_text("query-migrate", R"({"status": "setup"})");
  qmp.set_text("query-sev", R"({"error": "SEV is not enabled"})");
  const auto found = ask_for_obstacles(qmp, {});
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_TRUE(found->empty());
}

TEST(Obstacles, WhatCannotBeAskedIsAnError) {
  auto qmp = plain_vm();
  qmp.set_text("qom-list path=/objects", R"({"error": "gone"})");
  EXPECT_FALSE(ask_for_obstacles(qmp, {}));
}

constexpr const char* kFeatures = R"({"name": "virtio-blk", "num-vqs": 2, "guest-features": {"transports": [
    "VIRTIO_RING_F_EVENT_IDX: Used & avail. event fields enabled"]}})";
constexpr const char* kPacked = R"({"name": "virtio-blk", "num-vqs": 2, "guest-features": {"transports": [
    "VIRTIO_F_RING_PACKED: Device supports packed VQ layout"]}})";
constexpr const char* kIommu = R"({"name": "virtio-blk", "num-vqs": 2, "guest-features": {"transports": [
    "VIRTIO_F_IOMMU_PLATFORM: Device can be used on IOMMU platform"]}})";

/// One virtio-blk, one disk on virtio-scsi, one on IDE, all direct; an empty CD drive.
ScriptedQmp vm_with_disks() {
  ScriptedQmp qmp;
  qmp.set_text("query-block", R"([
    {"device": "a", "qdev": "/machine/peripheral/vb/virtio-backend",
     "inserted": {"file": "a.img", "cache": {"direct": true}}},
    {"device": "b", "qdev": "/machine/peripheral-anon/device[0]",
     "inserted": {"file": "b.img", "cache": {"direct": true}}},
    {"device": "ide0-hd0", "qdev": "/machine/unattached/device[19]",
     "inserted": {"file": "c.img", "cache": {"direct": true}}},
    {"device": "cached", "qdev": "/machine/peripheral-anon/device[5]",
     "inserted": {"file": "e.img", "cache": {"direct": false}}},
    {"device": "cd", "qdev": "/machine/unattached/device[20]"}])");
  qmp.set_text("query-named-block-nodes",
               R"([{"file": "a.img", "cache": {"direct": true}}, {"file": "e.img", "cache": {"direct": false}}])");
  qmp.set_text("x-query-virtio", R"([{"name": "virtio-blk", "path": "/machine/peripheral/vb/virtio-backend"},
                                     {"name": "virtio-scsi", "path": "/machine/peripheral/vs/virtio-backend"}])");
  qmp.set_text("qom-get path=/machine/peripheral-anon/device[0] property=parent_bus",
               R"("/machine/peripheral/vs/virtio-backend/vs.0")");
  qmp.set_text("qom-get path=/machine/unattached/device[19] property=parent_bus",
               R"("/machine/unattached/device[18]/ide.0")");
  qmp.set_text("qom-get", R"({"error": "Property not found"})");
  qmp.set("qom-get path=/machine/peripheral-anon/device[5] property=type", "scsi-hd");
  qmp.set_text("x-query-virtio-status", kFeatures);
  return qmp;
}

TEST(DirectDisks, AreFoundWithTheirControllers) {
  auto qmp = vm_with_disks();
  const auto disks = find_direct_disks(qmp);
  ASSERT_TRUE(disks) << disks.error().message;
  ASSERT_EQ(disks->size(), 3u);
  EXPECT_EQ((*disks)[0].device, "a");
  EXPECT_EQ((*disks)[0].controller_path, "/machine/peripheral/vb/virtio-backend");
  EXPECT_TRUE((*disks)[0].readable_rings);
  EXPECT_EQ((*disks)[1].device, "b");
  EXPECT_EQ((*disks)[1].controller_path, "/machine/peripheral/vs/virtio-backend");
  EXPECT_TRUE((*disks)[1].readable_rings);
  EXPECT_EQ((*disks)[2].device, "ide0-hd0");
  EXPECT_EQ((*disks)[2].controller_path, "");
  EXPECT_FALSE((*disks)[2].readable_rings);
}

TEST(DirectDisks, PackedRingsAndVIommusCannotBeRead) {
  for (const char* status : {kPacked, kIommu}) {
    auto qmp = vm_with_disks();
    qmp.set_text("x-query-virtio-status", status);
    const auto disks = find_direct_disks(qmp);
    ASSERT_TRUE(disks);
    for (const auto& disk : *disks) EXPECT_FALSE(disk.readable_rings);
  }
}

TEST(DirectDisks, ADirectNodeBelowMakesAllDirect) {
  auto qmp = vm_with_disks();
  qmp.set_text("query-named-block-nodes", R"([{"file": "e.img", "cache": {"direct": true}}])");
  const auto disks = find_direct_disks(qmp);
  ASSERT_TRUE(disks) << disks.error().message;
  EXPECT_EQ(disks->size(), 4u);
}

TEST(DirectDisks, PassThroughIsDirect) {
  auto qmp = vm_with_disks();
  qmp.set("qom-get path=/machine/peripheral-anon/device[5] property=type", "scsi-block");
  const auto disks = find_direct_disks(qmp);
  ASSERT_TRUE(disks) << disks.error().message;
  EXPECT_EQ(disks->size(), 4u);
}

TEST(DiskQueues, AreListedOncePerController) {
  auto qmp = vm_with_disks();
  qmp.set_text("x-query-virtio-queue-status",
               R"({"vring-desc": 4096, "vring-avail": 8192, "vring-used": 12288, "vring-num": 256})");
  qmp.set_text("x-query-virtio-queue-status path=/v0 queue=1", R"({"vring-desc": 0, "vring-num": 256})");
  qmp.set_text("x-query-virtio-status path=/s0",
               R"({"name": "virtio-scsi", "num-vqs": 4, "guest-features": {"transports": []}})");
  Inspection vm;
  vm.direct_disks = {{"a", "/v0", true}, {"b", "/s0", true}, {"c", "/s0", true}};
  const auto queues = list_disk_queues(qmp, vm);
  ASSERT_TRUE(queues) << queues.error().message;
  ASSERT_EQ(queues->size(), 3u);  // of /v0 the first, of /s0 two and three
  EXPECT_EQ((*queues)[0].descriptors, 4096u);
  EXPECT_EQ((*queues)[0].available, 8192u);
  EXPECT_EQ((*queues)[0].used, 12288u);
  EXPECT_EQ((*queues)[0].size, 256u);
}

TEST(DiskQueues, RefuseWhatCannotBeRead) {
  auto qmp = vm_with_disks();
  Inspection vm;
  vm.direct_disks = {{"ide0-hd0", "", false}};
  auto queues = list_disk_queues(qmp, vm);
  ASSERT_FALSE(queues);
  EXPECT_EQ(queues.error().kind, ErrorKind::kUnsupported);

  vm.direct_disks = {{"a", "/v0", true}};  // the guest has turned packed rings on since the inspection
  qmp.set_text("x-query-virtio-status", kPacked);
  queues = list_disk_queues(qmp, vm);
  ASSERT_FALSE(queues);
  EXPECT_EQ(queues.error().kind, ErrorKind::kUnsupported);

  qmp.set_text("x-query-virtio-status", kFeatures);
  qmp.set_text("x-query-virtio-queue-status", R"({"vring-desc": 4096, "vring-num": 65536})");
  queues = list_disk_queues(qmp, vm);
  ASSERT_FALSE(queues);
  EXPECT_EQ(queues.error().kind, ErrorKind::kProtocol);
}

}  // namespace
}  // namespace godwit::qemu::obstacles_test
