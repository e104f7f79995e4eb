#include "vm/fingerprint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

namespace godwit {
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
  };
  for (const auto& one : cases) {
    Fingerprint sink = sample();
    one.change(sink);
    EXPECT_THAT(differences(sample(), sink), ElementsAre(AllOf(HasSubstr(one.source), HasSubstr(one.sink))));
  }
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
}  // namespace godwit
