// Two real QEMUs and a test in the place of the engine: it copies RAM itself while the guest is paused.
//
// The guest is SeaBIOS, which finds nothing to boot and waits; its clock tick at 0x46c tells whether it runs.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/kept_record.h"
#include "tests/support/qemu_vm.h"
#include "tests/vmm/handover_observer.h"
#include "vmm/qemu/qemu_vm.h"

namespace godwit::qemu::testing {

using godwit::testing::Json;
using godwit::testing::KeptRecord;
using godwit::testing::QemuOptions;
using godwit::testing::QemuVersion;
using godwit::testing::Ram;
using godwit::testing::RecordingObserver;
using godwit::testing::TestQemu;
using std::chrono::milliseconds;
using std::chrono::seconds;

/// One QEMU with the engine's monitor and RAM.
struct Side {
  std::unique_ptr<TestQemu> qemu;
  QemuVm vm;
  KeptRecord record;
};

inline std::uint32_t tick(const TestQemu& qemu) {
  std::uint32_t value = 0;
  EXPECT_TRUE(qemu.read_physical(0x46c, &value, sizeof value));
  return value;
}

/// Whether the guest's clock moves; it ticks every 55 ms.
inline bool ticks(const TestQemu& qemu, milliseconds limit = seconds(20)) {
  const auto first = tick(qemu);
  const auto deadline = std::chrono::steady_clock::now() + limit;
  while (std::chrono::steady_clock::now() < deadline) {
    if (tick(qemu) != first) return true;
    std::this_thread::sleep_for(milliseconds(5));
  }
  return false;
}

inline Json settings_of(TestQemu& qemu) {
  Json all;
  all["capabilities"] = qemu.monitor().execute("query-migrate-capabilities").value_or(Json());
  all["parameters"] = qemu.monitor().execute("query-migrate-parameters").value_or(Json());
  return all;
}

class HandoverBase : public ::testing::Test {
 protected:
  void start(Side& side, const QemuOptions& options) {
    auto qemu = TestQemu::start(options);
    ASSERT_TRUE(qemu) << qemu.error().message;
    side.qemu = std::move(*qemu);
    auto vm = attach(side.qemu->qmp_path().string(), 0, clock_);
    ASSERT_TRUE(vm) << vm.error().message;
    side.vm = std::move(*vm);
    auto blocks = side.vm.inspection.blocks;
    if (way_ == DeviceWay::kDirect) {
      const auto& other = side.vm.inspection.other;
      ASSERT_FALSE(other.missing) << *other.missing;
      blocks.insert(blocks.end(), other.blocks.begin(), other.blocks.end());
    }
    auto memory = open_memory(*side.vm.process, blocks);
    ASSERT_TRUE(memory) << memory.error().message;
    side.vm.memory = std::move(*memory);
  }
  void start_source(QemuVersion version, Ram ram, std::uint64_t size = 32 * kMiB) {
    options_.version = version;
    options_.ram = ram;
    options_.size = size;
    ASSERT_NO_FATAL_FAILURE(start(source_, options_));
    ASSERT_TRUE(ticks(*source_.qemu)) << "SeaBIOS does not come up";
    source_vm_ = make_source_vm(source_.vm, {way_, {}, false}, source_.record, clock_);
  }
  void start_sink(QemuVersion version, Ram ram) {
    QemuOptions options = options_;
    options.version = version;
    options.ram = ram;
    options.incoming = true;
    ASSERT_NO_FATAL_FAILURE(start(sink_, options));
    sink_vm_ = make_sink_vm(sink_.vm, {way_, {}, false}, sink_.record, clock_);
  }

  /// Every page, as the lanes do it.
  void copy_ram() {
    auto& from = *source_.vm.memory;
    auto& to = *sink_.vm.memory;
    ASSERT_EQ(from.layout().blocks().size(), to.layout().blocks().size());
    for (std::size_t i = 0; i < from.layout().blocks().size(); ++i) {
      ASSERT_EQ(from.layout().blocks()[i].name, to.layout().blocks()[i].name);
    }
    std::vector<std::byte> buffer(kChunkSize);
    for (std::uint32_t c = 0; c < from.layout().chunk_count(); ++c) {
      const auto pages = from.layout().valid_pages(ChunkIndex{c});
      const auto bytes = MutableBytes(buffer).first(page_count(pages) * kPageSize);
      ASSERT_TRUE(from.read(ChunkIndex{c}, pages, bytes));
      ASSERT_TRUE(to.write(ChunkIndex{c}, pages, bytes));
    }
  }
  std::size_t pages_that_differ() {
    auto& a = *source_.vm.memory;
    auto& b = *sink_.vm.memory;
    std::vector<std::byte> x(kChunkSize);
    std::vector<std::byte> y(kChunkSize);
    std::size_t count = 0;
    for (std::uint32_t c = 0; c < a.layout().chunk_count(); ++c) {
      for_each_page(a.layout().valid_pages(ChunkIndex{c}), [&](unsigned page) {
        EXPECT_TRUE(a.read(ChunkIndex{c}, PageWord{1} << page, MutableBytes(x).first(kPageSize)));
        EXPECT_TRUE(b.read(ChunkIndex{c}, PageWord{1} << page, MutableBytes(y).first(kPageSize)));
        if (std::memcmp(x.data(), y.data(), kPageSize) != 0) ++count;
      });
    }
    return count;
  }

  /// Up to the sink being ready, both sides' guests paused.
  void hand_over() {
    ASSERT_TRUE(godwit::testing::hand_over(*source_vm_, observer_));
    ASSERT_NO_FATAL_FAILURE(load());
  }
  /// What has been ordered comes to its end and into the sink.
  void load() {
    ASSERT_TRUE(observer_.await_end());
    ASSERT_FALSE(observer_.failed) << observer_.failed->message;
    ASSERT_NO_FATAL_FAILURE(copy_ram());
    const auto open = sink_vm_->open_incoming();
    ASSERT_TRUE(open) << open.error().message;
    const auto loaded = sink_vm_->load(observer_.take_bytes());
    ASSERT_TRUE(loaded) << loaded.error().message;
    ASSERT_TRUE(sink_vm_->finish_load());
    const auto ready = sink_vm_->await_loaded(seconds(30));
    ASSERT_TRUE(ready) << ready.error().message;
  }

  /// What QEMU calls a guest that has been handed over.
  std::string handed_over() const { return way_ == DeviceWay::kDirect ? "paused" : "postmigrate"; }

  void expect_source_runs() {
    EXPECT_EQ(source_.qemu->status().value_or(""), "running");
    EXPECT_TRUE(ticks(*source_.qemu));
  }

  DeviceWay way_ = DeviceWay::kStream;
  SteadyClock clock_;
  QemuOptions options_;
  RecordingObserver observer_;
  Side source_;
  Side sink_;
  std::unique_ptr<SourceVm> source_vm_;
  std::unique_ptr<SinkVm> sink_vm_;
};

}  // namespace godwit::qemu::testing
