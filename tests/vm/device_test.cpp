#include "vm/device.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

namespace godwit::device_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

using Devices = std::vector<Device>;

Devices sample() {
  return {{"PCI 03.0", "virtio-blk-pci", "vb", {{"serial", "abc"}, {"num-queues", "2"}}},
          {"PCI 04.0", "virtio-net-pci", "net0", {{"mac", "52:54:00:00:00:01"}, {"mrg_rxbuf", "on"}}},
          {"PCI 06.0", "virtio-scsi-pci", "vs", {}},
          {"PCI 06.0 / SCSI 0:0:0", "scsi-hd", "", {{"serial", ""}}},
          {"hpet", "hpet", "", {{"timers", "3"}}},
          {"PCI 01.0 / isa-pcspk", "isa-pcspk", "", {}}};
}

struct Case {
  std::string name;
  std::function<void(Devices&)> change;  ///< of the sink's
  std::vector<std::string> says;
};

void expect_said(const std::vector<std::string>& found, const std::vector<std::string>& words) {
  ASSERT_EQ(found.size(), 1u);
  for (const auto& word : words) EXPECT_THAT(found[0], HasSubstr(word));
}

TEST(Devices, EqualOnesFit) {
  EXPECT_THAT(compare_devices(sample(), sample(), true), IsEmpty());
  auto sink = sample();
  std::reverse(sink.begin(), sink.end());
  EXPECT_THAT(compare_devices(sample(), sink, true), IsEmpty()) << "in any order";
}

TEST(Devices, EachDifferenceIsNamedOnceWithBothValues) {
  const Case cases[] = {
      {"another MAC",
       [](Devices& d) { d[1].properties["mac"] = "52:54:00:00:00:02"; },
       {"'net0'", "mac", "'52:54:00:00:00:01' at the source", "'52:54:00:00:00:02' at the sink"}},
      {"a feature less",
       [](Devices& d) { d[1].properties["mrg_rxbuf"] = "off"; },
       {"'net0'", "mrg_rxbuf", "on", "off"}},
      {"another slot", [](Devices& d) { d[1].place = "PCI 05.0"; }, {"'net0'", "PCI 04.0", "PCI 05.0"}},
      {"another slot and no id", [](Devices& d) { d[1].place = "PCI 05.0", d[1].id = ""; }, {"'net0'", "PCI 05.0"}},
      {"another model", [](Devices& d) { d[1].type = "e1000"; }, {"PCI 04.0", "virtio-net-pci", "e1000"}},
      {"a missing one", [](Devices& d) { d.erase(d.begin()); }, {"'vb' (virtio-blk-pci)", "missing at the sink"}},
      {"one more",
       [](Devices& d) {
         d.push_back({"PCI 09.0", "virtio-rng-pci", "", {}});
       },
       {"virtio-rng-pci at PCI 09.0", "missing at the source"}},
      {"what hangs on a missing one is not named",
       [](Devices& d) { d.erase(d.begin() + 2, d.begin() + 4); },
       {"'vs'", "missing at the sink"}},
      {"no hpet", [](Devices& d) { d.erase(d.begin() + 4); }, {"hpet", "missing at the sink"}},
  };
  for (const auto& one : cases) {
    SCOPED_TRACE(one.name);
    for (const bool same_version : {true, false}) {
      auto sink = sample();
      one.change(sink);
      expect_said(compare_devices(sample(), sink, same_version), one.says);
    }
  }
}

TEST(Devices, IdsAndUnknownPropertiesMayDiffer) {
  auto sink = sample();
  for (auto& device : sink) device.id += "x";
  sink[0].properties.erase("serial");       // a version that does not know it
  sink[1].properties["guest_uso4"] = "on";  // one that knows more
  EXPECT_THAT(compare_devices(sample(), sink, false), IsEmpty());
}

/// QEMU does not tell what "auto" has come to be.
TEST(Devices, AutoContradictsNothing) {
  auto source = sample();
  source[0].properties["msi"] = "auto";
  auto sink = source;
  sink[0].properties["msi"] = "on";
  EXPECT_THAT(compare_devices(source, sink, true), IsEmpty());
  EXPECT_THAT(compare_devices(sink, source, true), IsEmpty());
}

TEST(Devices, TwoThatHaveChangedPlacesDifferInWhatTheyAre) {
  auto source = sample();
  source.push_back({"PCI 05.0", "virtio-net-pci", "net1", {{"mac", "52:54:00:00:00:09"}}});
  auto sink = source;
  std::swap(sink[1].place, sink.back().place);
  EXPECT_THAT(compare_devices(source, sink, true), ElementsAre(HasSubstr("mac"), HasSubstr("mac")));
}

TEST(Devices, ChipsThatOnlyOneVersionListsArePassedOver) {
  auto sink = sample();
  sink.pop_back();
  EXPECT_THAT(compare_devices(sample(), sink, false), IsEmpty());
  EXPECT_THAT(compare_devices(sample(), sink, true), ElementsAre(HasSubstr("isa-pcspk")));
}

TEST(Devices, ASideThatCannotTellIsNotCompared) {
  EXPECT_THAT(compare_devices(sample(), {}, true), IsEmpty());
  EXPECT_THAT(compare_devices({}, sample(), true), IsEmpty());
}

}  // namespace
}  // namespace godwit::device_test
