// Reads configurations from answers as QEMU 7.2 and 10.0 gave them, and compares them.
#include "vmm/qemu/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "tests/vmm/scripted_qmp.h"
#include "vmm/qemu/info_network.h"
#include "vmm/qemu/migration_watch.h"

namespace godwit::qemu::configuration_test {
namespace {

using godwit::testing::ScriptedQmp;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::UnorderedElementsAre;

ScriptedQmp vm() {
  ScriptedQmp qmp;
  qmp.set_text("query-block", R"([
    {"device": "d0", "removable": false, "qdev": "/machine/peripheral/vb/virtio-backend", "inserted": {
       "node-name": "#block641", "ro": false, "cache": {"direct": true}, "image": {
         "filename": "/snap.qcow2", "virtual-size": 67108864, "actual-size": 200704,
         "backing-image": {"filename": "/base.raw", "virtual-size": 67108864}}}},
    {"device": "", "removable": false, "qdev": "/machine/peripheral/vc/virtio-backend", "inserted": {
       "node-name": "f1", "ro": true, "cache": {"direct": false},
       "image": {"filename": "/f1.raw", "virtual-size": 512}}},
    {"device": "cd", "removable": true, "tray_open": false, "qdev": "/machine/unattached/device[19]"}])");
  qmp.set_text("qom-list path=/machine/peripheral",
               R"([{"name": "type", "type": "string"}, {"name": "vb", "type": "child<virtio-blk-pci>"}])");
  qmp.set_text("qom-list path=/machine/peripheral-anon",
               R"([{"name": "type", "type": "string"}, {"name": "device[0]", "type": "child<scsi-hd>"}])");
  qmp.set_text(
      "qom-list path=/machine/unattached",
      R"([{"name": "non-qdev-gpio[10]", "type": "child<irq>"}, {"name": "io[0]", "type": "child<memory-region>"},
                   {"name": "device[4]", "type": "child<i8257>"}])");
  qmp.set_text("query-named-block-nodes flat=true", R"([{"node-name": "f1", "drv": "file", "file": "/f1.raw"}])");
  qmp.set(
      "human-monitor-command command-line=info network",
      "e1000.0: index=0,type=nic,model=e1000,macaddr=52:54:00:12:34:56\r\n \\ n0: index=0,type=tap,ifname=tap0\r\n");
  qmp.set_text("query-cpus-fast", R"([{"cpu-index": 0, "qom-path": "/machine/unattached/device[0]"}])");
  qmp.set("human-monitor-command command-line=info ramblock",
          "   Block Name    PSize              Offset               Used              Total\r\n"
          "       pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000\r\n"
          "      pc.bios    4 KiB  0x0000000004000000 0x0000000000040000 0x0000000000040000\r\n");
  return qmp;
}

Configuration read(ScriptedQmp qmp) {
  auto found = read_configuration(qmp);
  EXPECT_TRUE(found) << found.error().message;
  return found ? *found : Configuration{};
}

TEST(Configuration, IsRead) {
  const auto found = read(vm());
  ASSERT_EQ(found.plugged.disks.size(), 3u);
  const Drive& disk = found.plugged.disks.at("d0");
  EXPECT_THAT(disk.images, ElementsAre("/snap.qcow2", "/base.raw"));
  EXPECT_EQ(disk.node, "#block641");
  EXPECT_EQ(disk.size, 67108864u);
  EXPECT_TRUE(disk.direct);
  EXPECT_FALSE(disk.read_only);
  EXPECT_TRUE(found.plugged.disks.at("vc").read_only);
  EXPECT_TRUE(found.plugged.disks.at("cd").removable);
  EXPECT_THAT(found.plugged.disks.at("cd").images, IsEmpty());
  EXPECT_THAT(found.plugged.devices,
              UnorderedElementsAre(Pair("vb", "virtio-blk-pci"), Pair("peripheral-anon/device[0]", "scsi-hd")));
  EXPECT_THAT(found.built_in, ElementsAre(Pair("unattached/device[4]", "i8257")));
  EXPECT_THAT(found.nodes, ElementsAre(Pair("f1", "file /f1.raw")));
  EXPECT_THAT(found.networks, UnorderedElementsAre(Pair("e1000.0", "nic"), Pair("n0", "tap")));
  EXPECT_THAT(found.cpus, ElementsAre(Pair("0", "/machine/unattached/device[0]")));
  EXPECT_THAT(found.ram_blocks, UnorderedElementsAre(Pair("pc.ram", 0x4000000u), Pair("pc.bios", 0x40000u)));
}

TEST(Configuration, WhatCannotBeReadIsAnError) {
  for (const char* command :
       {"query-block", "query-cpus-fast", "qom-list path=/machine/unattached", "query-named-block-nodes flat=true",
        "human-monitor-command command-line=info network", "human-monitor-command command-line=info ramblock"}) {
    auto qmp = vm();
    qmp.set_text(command, R"({"error": "gone"})");
    EXPECT_FALSE(read_configuration(qmp)) << command;
  }
}

// What a guest does by itself is not a change.
TEST(Configuration, AGuestAtWorkChangesNothing) {
  auto qmp = vm();
  qmp.set_text("query-block", R"([
    {"device": "d0", "removable": false, "qdev": "/machine/peripheral/vb/virtio-backend", "inserted": {
       "node-name": "#block641", "ro": false, "cache": {"direct": true}, "image": {
         "filename": "/snap.qcow2", "virtual-size": 67108864, "actual-size": 99999999,
         "backing-image": {"filename": "/base.raw", "virtual-size": 67108864}}}},
    {"device": "", "removable": false, "qdev": "/machine/peripheral/vc/virtio-backend", "inserted": {
       "node-name": "f1", "ro": true, "cache": {"direct": false},
       "image": {"filename": "/f1.raw", "virtual-size": 512}}},
    {"device": "cd", "removable": true, "tray_open": true, "qdev": "/machine/unattached/device[19]"}])");
  qmp.set_text("qom-list path=/machine/unattached",
               R"([{"name": "io[7]", "type": "child<memory-region>"}, {"name": "device[4]", "type": "child<i8257>"}])");
  qmp.set(
      "human-monitor-command command-line=info network",
      "e1000.0: index=0,type=nic,model=e1000,macaddr=00:00:00:00:00:01\r\n \\ n0: index=0,type=tap,ifname=tap0\r\n");
  qmp.set("human-monitor-command command-line=info ramblock",
          "       pc.ram    4 KiB  0x0000000000000000 0x0000000004000000 0x0000000004000000\r\n"
          "      pc.bios    4 KiB  0x0000000004000000 0x0000000000020000 0x0000000000040000\r\n");
  EXPECT_THAT(find_changes(read(vm()), read(qmp)), IsEmpty());
  EXPECT_THAT(find_node_changes(read(vm()), read(qmp)), IsEmpty());
}

struct Case {
  const char* says;
  std::function<void(Configuration&)> make;
};

TEST(Configuration, ChangesAreNamed) {
  const auto disk = [](Configuration& c) -> Drive& { return c.plugged.disks.at("d0"); };
  const auto cd = [](Configuration& c) -> Drive& { return c.plugged.disks.at("cd"); };
  const std::vector<Case> cases = {
      {"disk 'd0' has been given a snapshot: it was on /snap.qcow2 (on /base.raw), it is on /new.qcow2 (on "
       "/snap.qcow2 on /base.raw)",
       [&](auto& c) { disk(c).images.insert(disk(c).images.begin(), "/new.qcow2"), disk(c).node = "#block700"; }},
      {"disk 'd0' has been moved to another image: it was on /snap.qcow2 (on /base.raw), it is on /copy.raw",
       [&](auto& c) { disk(c).images = {"/copy.raw"}; }},
      {"disk 'd0' has been moved to another image: it was on /snap.qcow2 (on /base.raw), it is on /base.raw",
       [&](auto& c) { disk(c).images = {"/base.raw"}; }},
      {"disk 'd0' has been resized: it had 67108864 bytes, it has 1048576", [&](auto& c) { disk(c).size = 1048576; }},
      {"disk 'd0' has been made read-only", [&](auto& c) { disk(c).read_only = true; }},
      {"the cache mode of disk 'd0' has been changed: cache.direct is off now",
       [&](auto& c) { disk(c).direct = false; }},
      {"disk 'd0' has been given another block node: it was '#block641', it is 'x'",
       [&](auto& c) { disk(c).node = "x"; }},
      {"disk 'vc' has been removed, it was on /f1.raw", [](auto& c) { c.plugged.disks.erase("vc"); }},
      {"disk 've' has been added, on /e.raw", [](auto& c) { c.plugged.disks["ve"].images = {"/e.raw"}; }},
      {"a medium has been inserted into drive 'cd': /a.iso", [&](auto& c) { cd(c).images = {"/a.iso"}; }},
      {"device 'nic1' (e1000) has been added", [](auto& c) { c.plugged.devices["nic1"] = "e1000"; }},
      {"device 'vb' (virtio-blk-pci) has been removed", [](auto& c) { c.plugged.devices.erase("vb"); }},
      {"device 'vb' has been replaced: it was virtio-blk-pci, it is nvme",
       [](auto& c) { c.plugged.devices["vb"] = "nvme"; }},
      {"built-in device 'unattached/device[4]' (i8257) has been removed", [](auto& c) { c.built_in.clear(); }},
      {"CPU '1' (/machine/peripheral/cpu1) has been added", [](auto& c) { c.cpus["1"] = "/machine/peripheral/cpu1"; }},
      {"network 'n0' (tap) has been removed", [](auto& c) { c.networks.erase("n0"); }},
      {"RAM block 'dimm' of 1048576 bytes has been added", [](auto& c) { c.ram_blocks["dimm"] = 1048576; }},
      {"RAM block 'pc.bios' of 262144 bytes has been removed", [](auto& c) { c.ram_blocks.erase("pc.bios"); }},
  };
  const auto before = read(vm());
  for (const auto& one : cases) {
    auto now = before;
    one.make(now);
    EXPECT_THAT(find_changes(before, now), ElementsAre(one.says));
  }
}

TEST(Configuration, MediaThatWereThereAreNamed) {
  auto before = read(vm());
  before.plugged.disks.at("cd").images = {"/a.iso"};
  auto now = before;
  now.plugged.disks.at("cd").images = {"/b.iso"};
  EXPECT_THAT(find_changes(before, now),
              ElementsAre("the medium of drive 'cd' has been changed: it was /a.iso, it is /b.iso"));
  now.plugged.disks.at("cd").images.clear();
  EXPECT_THAT(find_changes(before, now), ElementsAre("the medium of drive 'cd' has been taken out: it was /a.iso"));
}

TEST(Configuration, NodesAreComparedByThemselves) {
  const auto before = read(vm());
  auto now = before;
  now.nodes["backup"] = "qcow2 /b.qcow2";
  EXPECT_THAT(find_changes(before, now), IsEmpty());
  EXPECT_THAT(find_node_changes(before, now), ElementsAre("block node 'backup' (qcow2 /b.qcow2) has been added"));
}

TEST(ChangeEvents, TellWhatTheyTell) {
  const auto told = [](const char* name, const char* data) { return change_told_by(name, Json::parse(data)); };
  EXPECT_EQ(told("JOB_STATUS_CHANGE", R"({"status": "created", "id": "d0"})"), "job 'd0' has been started");
  EXPECT_EQ(told("JOB_STATUS_CHANGE", R"({"status": "null", "id": "d0"})"), "");
  EXPECT_EQ(told("JOB_STATUS_CHANGE", R"({"status": "concluded", "id": "d0"})"), "");
  EXPECT_EQ(told("DEVICE_DELETED", R"({"device": "tab", "path": "/machine/peripheral/tab"})"),
            "device 'tab' has been removed");
  EXPECT_EQ(told("DEVICE_DELETED", R"({"path": "/machine/x"})"), "device '/machine/x' has been removed");
  EXPECT_EQ(told("MEMORY_DEVICE_SIZE_CHANGE", R"({"id": "vm0", "size": 1})"), "memory device 'vm0' has been resized");
  for (const char* other : {"STOP", "RESUME", "MIGRATION", "BALLOON_CHANGE", "RTC_CHANGE", "DEVICE_TRAY_MOVED"}) {
    EXPECT_EQ(told(other, "{}"), "") << other;
  }
}

TEST(NetworkLines, AreParsed) {
  const auto lines = parse_network_lines(
      "hub 0\r\n \\ hub0port0: n1: index=0,type=user,net=10.0.2.0\r\ne1000.0: index=0,type=nic,model=e1000\r\n"
      " \\ n0: index=0,type=tap\r\nnot a line\r\n");
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].name, "hub0port0");
  EXPECT_EQ(lines[0].type, "user");
  EXPECT_EQ(lines[1].name, "e1000.0");
  EXPECT_EQ(lines[1].type, "nic");
  EXPECT_EQ(lines[2].name, "n0");
  EXPECT_EQ(lines[2].type, "tap");
}

}  // namespace
}  // namespace godwit::qemu::configuration_test
