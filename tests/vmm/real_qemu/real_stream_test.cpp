// The filter on streams that real QEMUs wrote into a file: it knows them to the last byte, and what it lets through
// another QEMU loads.
#include <gtest/gtest.h>

#include <sys/uio.h>

#include <fstream>
#include <thread>

#include "tests/support/qemu_vm.h"
#include "vmm/qemu/ram_blocks.h"
#include "vmm/qemu/stream_filter.h"

namespace godwit::qemu::real_stream_test {
namespace {

using godwit::testing::Json;
using godwit::testing::QemuOptions;
using godwit::testing::QemuVersion;
using godwit::testing::TestQemu;

class Output final : public FilterOutput {
 public:
  Status pass(Bytes bytes) override {
    passed += text_of(bytes);
    return {};
  }
  Status ram_ends() override {
    ended_at = passed.size();
    return {};
  }
  std::string passed;
  std::size_t ended_at = 0;
};

std::string migration_status(TestQemu& qemu) {
  return qemu.monitor().execute("query-migrate").value_or(Json::object()).value("status", "");
}

void await_status(TestQemu& qemu, const std::string& wanted) {
  for (int i = 0; i < 2000 && qemu.alive() && migration_status(qemu) != wanted; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ASSERT_EQ(migration_status(qemu), wanted) << qemu.errors();
}

class RealStreamTest : public ::testing::TestWithParam<QemuVersion> {
 protected:
  void SetUp() override {
    const auto program = godwit::testing::find_qemu(GetParam());
    if (!program) GTEST_SKIP() << program.error().message;
    options_.version = GetParam();
    options_.ram = godwit::testing::Ram::kPrivate;
    options_.size = 32 * kMiB;
    options_.more = {"-device", "VGA"};  // a second block of RAM, which nobody drops
    auto source = TestQemu::start(options_);
    ASSERT_TRUE(source) << source.error().message;
    source_ = std::move(*source);
    std::this_thread::sleep_for(std::chrono::milliseconds(200));  // some firmware in RAM, however far it got
    const auto path = source_->folder() / "stream";
    ASSERT_TRUE(source_->monitor().execute("migrate", Json{{"uri", "exec:cat > " + path.string()}}));
    ASSERT_NO_FATAL_FAILURE(await_status(*source_, "completed"));
    stream_ = godwit::testing::read_text(path);
    ASSERT_GT(stream_.size(), 100000u);
  }

  /// Into a new QEMU, with this in its RAM before.
  void load(const std::string& stream, std::string ram = {}) {
    QemuOptions options = options_;
    options.incoming = true;
    auto sink = TestQemu::start(options);
    ASSERT_TRUE(sink) << sink.error().message;
    sink_ = std::move(*sink);
    if (!ram.empty()) {
      iovec local{ram.data(), ram.size()};
      iovec remote{reinterpret_cast<void*>(sink_->blocks().at(0).address), ram.size()};
      ASSERT_EQ(::process_vm_writev(sink_->pid(), &local, 1, &remote, 1, 0), static_cast<ssize_t>(ram.size()));
    }
    const auto path = sink_->folder() / "stream";
    { std::ofstream(path, std::ios::binary) << stream; }
    ASSERT_TRUE(sink_->monitor().execute("migrate-incoming", Json{{"uri", "exec:cat " + path.string()}}));
    ASSERT_NO_FATAL_FAILURE(await_status(*sink_, "completed"));
  }
  std::string ram_of(const TestQemu& qemu) {
    std::string ram(options_.size, '\0');
    EXPECT_TRUE(qemu.read_physical(0, ram.data(), ram.size()));
    return ram;
  }

  QemuOptions options_;
  std::unique_ptr<TestQemu> source_;
  std::unique_ptr<TestQemu> sink_;
  std::string stream_;
};

TEST_P(RealStreamTest, NothingDropped) {
  Output out;
  auto filter = make_stream_filter({}, out);
  for (std::size_t at = 0; at < stream_.size(); at += 10007) {
    const auto fed = filter->feed(bytes_of(std::string_view(stream_).substr(at, 10007)));
    ASSERT_TRUE(fed) << fed.error().message;
  }
  EXPECT_TRUE(filter->finish());
  EXPECT_TRUE(out.passed == stream_);
  EXPECT_EQ(filter->dropped_bytes(), 0u);
  EXPECT_GT(filter->declared_bytes(), options_.size);
  EXPECT_GT(out.ended_at, 0u);
  ASSERT_NO_FATAL_FAILURE(load(out.passed));
  EXPECT_TRUE(ram_of(*source_) == ram_of(*sink_));
}

TEST_P(RealStreamTest, MainMemoryDropped) {
  Output out;
  FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  auto filter = make_stream_filter(options, out);
  const auto fed = filter->feed(bytes_of(stream_));
  ASSERT_TRUE(fed) << fed.error().message;
  EXPECT_TRUE(filter->finish());
  EXPECT_EQ(filter->dropped_bytes() + out.passed.size(), stream_.size());
  EXPECT_GT(filter->dropped_bytes(), 0u);
  EXPECT_EQ(stream_.substr(stream_.size() - 10000), out.passed.substr(out.passed.size() - 10000));
  // RAM comes by another way, and before: QEMU looks into it while it loads the devices.
  ASSERT_NO_FATAL_FAILURE(load(out.passed, ram_of(*source_)));
  EXPECT_TRUE(ram_of(*source_) == ram_of(*sink_));
}

// Every block is known by what "info ramblock" says, and QEMU sends each page of those that nobody drops.
TEST_P(RealStreamTest, BlocksAreKnownWithTheirLengths) {
  const auto text = source_->monitor().human("info ramblock");
  ASSERT_TRUE(text) << text.error().message;
  Output out;
  FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  for (const auto& line : parse_ram_blocks(*text)) options.lengths[line.name] = line.size;
  EXPECT_GT(options.lengths.size(), 2u);
  auto filter = make_stream_filter(options, out);
  const auto fed = filter->feed(bytes_of(stream_));
  EXPECT_TRUE(fed) << fed.error().message;
  EXPECT_TRUE(filter->finish());
}

// QEMU takes shared memory for memory that the sink has too: nobody would have moved it.
TEST_P(RealStreamTest, ABlockThatQemuLeavesOutIsNoticed) {
  QemuOptions shared = options_;
  shared.ram = godwit::testing::Ram::kFile;
  auto source = TestQemu::start(shared);
  ASSERT_TRUE(source) << source.error().message;
  const Json on = Json::array({{{"capability", "x-ignore-shared"}, {"state", true}}});
  ASSERT_TRUE((*source)->monitor().execute("migrate-set-capabilities", {{"capabilities", on}}));
  const auto path = (*source)->folder() / "stream";
  ASSERT_TRUE((*source)->monitor().execute("migrate", Json{{"uri", "exec:cat > " + path.string()}}));
  ASSERT_NO_FATAL_FAILURE(await_status(**source, "completed"));
  const std::string stream = godwit::testing::read_text(path);

  FilterOptions options;
  options.ignore_shared = true;
  options.dropped_blocks = {"pc.ram"};
  Output moved;
  const auto by_lanes = make_stream_filter(options, moved)->feed(bytes_of(stream));
  EXPECT_TRUE(by_lanes) << by_lanes.error().message;

  options.dropped_blocks.clear();
  Output nobody;
  const auto left_out = make_stream_filter(options, nobody)->feed(bytes_of(stream));
  ASSERT_FALSE(left_out);
  EXPECT_EQ(left_out.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(left_out.error().message.find("only 0 of the 8192 pages of RAM block 'pc.ram' were sent"),
            std::string::npos)
      << left_out.error().message;
}

INSTANTIATE_TEST_SUITE_P(Qemu, RealStreamTest, ::testing::Values(QemuVersion::k7_2, QemuVersion::k10_0),
                         [](const auto& each) { return each.param == QemuVersion::k7_2 ? "v7_2" : "v10_0"; });

}  // namespace
}  // namespace godwit::qemu::real_stream_test
