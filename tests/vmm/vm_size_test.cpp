// A VM that is too large is refused by what it has too much of; one at every limit is not.
#include "vmm/vm_size.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/limits.h"
#include "base/units.h"

namespace godwit::vm_size_test {
namespace {

Fingerprint at_every_limit() {
  Fingerprint vm;
  vm.cpus = most::kCpus;
  vm.cpu_places.resize(most::kCpus);
  vm.blocks.resize(most::kRamBlocks);
  vm.blocks.front().size = most::kRam;
  vm.memory.resize(most::kRamBlocks);
  vm.devices.resize(most::kDevices);
  vm.disks.resize(most::kDisks);
  return vm;
}

TEST(VmSize, MayBeAtEveryLimit) {
  const Status fits = check_size(at_every_limit());
  EXPECT_TRUE(fits) << fits.error().message;
}

TEST(VmSize, OneMoreIsRefusedByName) {
  const struct {
    const char* named;
    std::function<void(Fingerprint&)> add;
  } cases[] = {
      {"4096 vCPUs", [](Fingerprint& vm) { ++vm.cpus; }},
      {"4096 vCPUs", [](Fingerprint& vm) { vm.cpu_places.emplace_back(); }},
      {"1024 RAM blocks of main memory", [](Fingerprint& vm) { vm.blocks.emplace_back(); }},
      {"1024 RAM blocks", [](Fingerprint& vm) { vm.memory.emplace_back(); }},
      {"1024 devices", [](Fingerprint& vm) { vm.devices.emplace_back(); }},
      {"256 disks", [](Fingerprint& vm) { vm.disks.emplace_back(); }},
      {"1 PiB of RAM", [](Fingerprint& vm) { vm.blocks.back().size = 4 * kKiB; }},
      {"1 PiB of RAM", [](Fingerprint& vm) { vm.blocks.back().size = ~std::uint64_t{0}; }},
  };
  for (const auto& one : cases) {
    Fingerprint vm = at_every_limit();
    one.add(vm);
    const Status refused = check_size(vm);
    ASSERT_FALSE(refused) << one.named;
    EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
    EXPECT_NE(refused.error().message.find(one.named), std::string::npos) << refused.error().message;
  }
}

}  // namespace
}  // namespace godwit::vm_size_test
