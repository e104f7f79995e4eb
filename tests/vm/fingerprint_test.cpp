#include "vm/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace godwit::fingerprint_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

Fingerprint sample() {
  Fingerprint vm;
  vm.hypervisor = "qemu";
  vm.version = "7.2.22";
  vm.vm_name = "web";
  vm.machine = "pc-i440fx-7.2";
  vm.accelerator = "kvm";
  vm.cpu_model = "qemu64-x86_64-cpu";
  vm.cpu_features = {{"eax=1 ecx=0 edx", "0x1f8bfbff"}, {"eax=7 ecx=0 ebx", "0x21"}};
  vm.cpus = 4;
  vm.blocks = {{"ram0", 1 << 30, 4096}, {"ram1", 2u << 30, 4096}};
  vm.physical_bits = 40;
  vm.topology = {{"maxcpus", 8}, {"sockets", 2}, {"cores", 4}, {"threads", 1}};
  vm.cpu_places = {"core-id 1", "core-id 2", "core-id 3", "the first place"};
  vm.machine_properties = {{"max-ram-below-4g", "3758096384"}, {"vmport", "on"}};
  vm.memory = {{"ram0", 1 << 30, 1 << 30},
               {"0000:00:02.0/vga.vram", 16 << 20, 16 << 20},
               {"/rom@etc/acpi/tables", 131072, 2097152}};
  vm.devices = {{"PCI 02.0", "VGA", "", {{"vgamem_mb", "16"}}}};
  return vm;
}

TEST(Differences, NoneBetweenEqualVms) {
  EXPECT_THAT(differences(sample(), sample()), IsEmpty());
}

TEST(Differences, VersionNamePageSizesAndBlockOrderMayDiffer) {
  Fingerprint sink = sample();
  sink.version = "10.0.2";
  sink.vm_name = "incoming";
  std::swap(sink.blocks[0], sink.blocks[1]);
  sink.blocks[0].page_size = 2 << 20;
  EXPECT_THAT(differences(sample(), sink), IsEmpty());
}

TEST(Differences, EachNamesBothValues) {
  const struct {
    std::function<void(Fingerprint&)> change;
    std::string source, sink;
  } cases[] = {
      {[](Fingerprint& vm) { vm.hypervisor = "other"; }, "'qemu'", "'other'"},
      {[](Fingerprint& vm) { vm.machine = "pc-q35-7.2"; }, "'pc-i440fx-7.2'", "'pc-q35-7.2'"},
      {[](Fingerprint& vm) { vm.accelerator = "tcg"; }, "'kvm'", "'tcg'"},
      {[](Fingerprint& vm) { vm.cpu_model = "host-x86_64-cpu"; }, "'qemu64-x86_64-cpu'", "'host-x86_64-cpu'"},
      {[](Fingerprint& vm) { vm.cpus = 2; }, "4 CPUs", "2 at"},
      {[](Fingerprint& vm) { vm.blocks[1].size = 4096; }, "2147483648", "4096"},
      {[](Fingerprint& vm) { vm.physical_bits = 36; }, "40 bits (phys-bits)", "36 at"},
      {[](Fingerprint& vm) { vm.topology["maxcpus"] = 4; }, "'maxcpus' is 8", "4 at"},
      {[](Fingerprint& vm) { vm.topology["threads"] = 2; }, "'threads' is 1", "2 at"},
      {[](Fingerprint& vm) { vm.cpu_places[0] = "core-id 7"; }, "core-id 1", "missing at the sink"},
      {[](Fingerprint& vm) { vm.machine_properties["vmport"] = "off"; }, "'vmport' is on", "off at"},
      {[](Fingerprint& vm) { vm.memory[1].size = 64 << 20; }, "vga.vram' has 16777216", "67108864"},
      {[](Fingerprint& vm) { vm.memory.erase(vm.memory.begin() + 1); }, "vga.vram' (16777216", "missing at the sink"},
      {[](Fingerprint& vm) { vm.memory[2].most = 65536; }, "131072", "65536"},
      {[](Fingerprint& vm) { vm.devices[0].properties["vgamem_mb"] = "64"; }, "'16'", "'64'"},
  };
  for (const auto& one : cases) {
    Fingerprint sink = sample();
    one.change(sink);
    EXPECT_THAT(differences(sample(), sink), ElementsAre(AllOf(HasSubstr(one.source), HasSubstr(one.sink))));
  }
}

TEST(Differences, ASinkMayHaveWiderPhysicalAddresses) {
  Fingerprint sink = sample();
  sink.physical_bits = 46;
  EXPECT_THAT(differences(sample(), sink), IsEmpty());
}

TEST(Differences, WhatOneSideCannotTellIsNotCompared) {
  Fingerprint bare = sample();
  bare.physical_bits = 0;
  bare.topology.clear();
  bare.cpu_places.clear();
  bare.machine_properties.clear();
  bare.memory.clear();
  bare.devices.clear();
  EXPECT_THAT(differences(sample(), bare), IsEmpty());
  EXPECT_THAT(differences(bare, sample()), IsEmpty());
}

// Their state is in the stream: a sink that has no place for it cannot load the VM, one that has more can.
TEST(Differences, UserNetworksMustBeThere) {
  Fingerprint source = sample();
  Fingerprint sink = sample();
  source.machine_properties["user-networks"] = "1";
  sink.machine_properties["user-networks"] = "0";
  EXPECT_THAT(differences(source, sink),
              ElementsAre(AllOf(HasSubstr("-netdev user"), HasSubstr("1 at"), HasSubstr("0 at"))));
  EXPECT_THAT(differences(sink, source), IsEmpty());
}

TEST(Differences, TablesThatGrowAndMoreMemoryAtTheSinkFit) {
  Fingerprint sink = sample();
  sink.memory[2].size = 65536;
  sink.memory.push_back({"0000:00:09.0/more.rom", 4096, 4096});
  EXPECT_THAT(differences(sample(), sink), IsEmpty());
}

TEST(Differences, AnAliasOfTheMachineTypeIsExplained) {
  Fingerprint sink = sample();
  sink.machine = "pc-i440fx-10.0";
  sink.machine_alias = "pc";
  sink.devices[0].type = "cirrus-vga";  // another board: not to be counted up
  EXPECT_THAT(differences(sample(), sink), ElementsAre(AllOf(HasSubstr("pc-i440fx-10.0"), HasSubstr("'pc' means"))));
}

TEST(Differences, SinkMayHaveMoreFeaturesButNotFewer) {
  Fingerprint sink = sample();
  sink.cpu_features["eax=7 ecx=0 ebx"] = "0xffff";
  sink.cpu_features["eax=7 ecx=0 ecx"] = "0x1";
  EXPECT_THAT(differences(sample(), sink), IsEmpty());

  sink.cpu_features["eax=7 ecx=0 ebx"] = "0x1";
  EXPECT_THAT(differences(sample(), sink), ElementsAre(AllOf(HasSubstr("0x21"), HasSubstr("bits 0x20 are missing"))));

  sink.cpu_features.erase("eax=7 ecx=0 ebx");
  EXPECT_THAT(differences(sample(), sink), ElementsAre(HasSubstr("bits 0x21 are missing")));
}

TEST(Differences, WordsThatAreNoNumbersMustBeEqual) {
  Fingerprint source = sample();
  Fingerprint sink = sample();
  source.cpu_features["vendor"] = "A";
  sink.cpu_features["vendor"] = "B";
  EXPECT_THAT(differences(source, sink), ElementsAre(AllOf(HasSubstr("'A'"), HasSubstr("'B'"))));
}

TEST(Differences, BlocksMissingOnEitherSide) {
  Fingerprint sink = sample();
  sink.blocks[1].name = "pc.ram";
  EXPECT_THAT(differences(sample(), sink),
              ElementsAre(AllOf(HasSubstr("'ram1'"), HasSubstr("missing at the sink")),
                          AllOf(HasSubstr("'pc.ram'"), HasSubstr("missing at the source"))));
}

TEST(Differences, AllAreReportedAtOnce) {
  Fingerprint sink = sample();
  sink.machine = "q35";
  sink.cpus = 1;
  sink.blocks.clear();
  EXPECT_EQ(differences(sample(), sink).size(), 4u);
}

}  // namespace
}  // namespace godwit::fingerprint_test
