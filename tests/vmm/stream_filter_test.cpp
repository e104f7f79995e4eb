// The filter on streams built by hand, each fed whole and in pieces of many sizes.
#include "vmm/qemu/stream_filter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/vmm/stream_builder.h"

namespace godwit::qemu::stream_filter_test {
namespace {

using godwit::testing::StreamBuilder;
using ::testing::HasSubstr;

class Output final : public FilterOutput {
 public:
  Status pass(Bytes bytes) override {
    EXPECT_FALSE(bytes.empty());
    if (fail_at == passed.size()) return fail(ErrorKind::kPeerLost, "no more");
    passed += text_of(bytes);
    if (passed.size() > fail_at) return fail(ErrorKind::kPeerLost, "no more");
    return {};
  }
  Status ram_ends() override {
    EXPECT_FALSE(end);
    end = passed.size();
    return {};
  }
  std::string passed;
  std::optional<std::size_t> end;  // how much had been passed when RAM ended
  std::size_t fail_at = ~std::size_t{0};
};

struct Outcome {
  std::string passed;
  std::optional<std::size_t> end;
  std::uint64_t dropped = 0;
  std::uint64_t declared = 0;
  std::optional<Error> error;
};

Outcome run(const std::string& stream, const FilterOptions& options, std::size_t first, std::size_t piece) {
  Output out;
  auto filter = make_stream_filter(options, out);
  Outcome outcome;
  Status status;
  std::size_t at = 0;
  std::size_t length = std::min(first, stream.size());
  while (at < stream.size() && status) {
    status = filter->feed(bytes_of(std::string_view(stream).substr(at, length)));
    at += length;
    length = std::min(piece, stream.size() - at);
  }
  if (status) status = filter->finish();
  if (!status) outcome.error = status.error();
  outcome.passed = out.passed;
  outcome.end = out.end;
  outcome.dropped = filter->dropped_bytes();
  outcome.declared = filter->declared_bytes();
  return outcome;
}

/// Feeds the stream whole, cut in two at every byte, and byte by byte: always the same comes out.
Outcome run_every_way(const std::string& stream, const FilterOptions& options) {
  const Outcome whole = run(stream, options, stream.size(), stream.size());
  const auto compare = [&](const Outcome& other, std::size_t cut) {
    // A broken stream's last run may not have been passed yet when the break is found.
    EXPECT_TRUE(whole.error ? other.passed.starts_with(whole.passed) : other.passed == whole.passed)
        << "cut at " << cut;
    EXPECT_EQ(other.end, whole.end) << "cut at " << cut;
    EXPECT_EQ(other.dropped, whole.dropped) << "cut at " << cut;
    EXPECT_EQ(other.error.has_value(), whole.error.has_value()) << "cut at " << cut;
    EXPECT_EQ(other.error.value_or(Error{}).message, whole.error.value_or(Error{}).message) << "cut at " << cut;
  };
  for (std::size_t cut = 1; cut < stream.size(); ++cut) compare(run(stream, options, cut, stream.size()), cut);
  for (const std::size_t piece : {1u, 2u, 3u, 7u, 4096u, 4104u}) compare(run(stream, options, piece, piece), piece);
  return whole;
}

constexpr std::string_view kBehindRam = "\x04 device state, \x7e anything at all \x03 until the end";

StreamBuilder opening() {
  StreamBuilder stream;
  stream.header().configuration("pc-i440fx-7.2");
  return stream;
}

/// All pages of vga.vram and pc.bios, which setup() lists and nobody drops.
StreamBuilder& send_rest(StreamBuilder& stream) {
  stream.zero("pc.bios", 0).zero_on(0x1000).zero("vga.vram", 0);
  return stream.zero_on(0x1000).zero_on(0x2000).zero_on(0x3000);
}

StreamBuilder setup() {
  auto stream = opening();
  stream.start().sizes({{"pc.ram", 0x8000}, {"vga.vram", 0x4000}, {"pc.bios", 0x2000}}).eos().footer();
  return stream;
}

TEST(StreamFilter, PassesEverythingWhenNothingIsDropped) {
  auto stream = setup();
  stream.part().page("pc.ram", 0, 'a').page_on(0x1000, 'b').zero_on(0x2000).zero("vga.vram", 0);
  send_rest(stream).zero("pc.ram", 0x3000);
  for (unsigned page = 4; page < 8; ++page) stream.zero_on(page * 0x1000);
  stream.eos().footer();
  const std::size_t before = stream.str().size();
  stream.end().page("pc.ram", 0x1000, 'c').eos().footer().raw(kBehindRam);
  const Outcome outcome = run_every_way(stream.str(), {});
  EXPECT_FALSE(outcome.error);
  EXPECT_TRUE(outcome.passed == stream.str());
  EXPECT_EQ(outcome.end, before);
  EXPECT_EQ(outcome.dropped, 0u);
  EXPECT_EQ(outcome.declared, 0xe000u);
}

// The same stream twice: as QEMU sends it, and as it should come out.
TEST(StreamFilter, DropsTheRecordsOfTheBlocksNamed) {
  auto stream = setup();
  auto wanted = setup();
  stream.part().page("pc.ram", 0, 'a').page_on(0x1000, 'b').zero_on(0x2000);
  wanted.part();
  stream.page("vga.vram", 0, 'v').page_on(0x1000, 'w').zero_on(0x2000);
  wanted.page("vga.vram", 0, 'v').page_on(0x1000, 'w').zero_on(0x2000);
  stream.zero("pc.ram", 0x3000).page_on(0x4000, 'c').eos().footer();
  wanted.eos().footer();
  // CONTINUE goes on across sections: the records before were dropped, and these are too.
  stream.part().page_on(0x5000, 'd').page("vga.vram", 0x3000, 'x').eos().footer();
  wanted.part().page("vga.vram", 0x3000, 'x').eos().footer();
  // And across sections for a block that passes.
  stream.part().zero_on(0x1000);
  wanted.part().zero_on(0x1000);
  send_rest(stream).eos().footer();
  send_rest(wanted).eos().footer();
  const std::size_t before = wanted.str().size();
  stream.end().page_on(0x1000, 'y').page("pc.ram", 0x7000, 'e').eos().footer().raw(kBehindRam);
  wanted.end().page_on(0x1000, 'y').eos().footer().raw(kBehindRam);

  FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  const Outcome outcome = run_every_way(stream.str(), options);
  EXPECT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_TRUE(outcome.passed == wanted.str());
  EXPECT_EQ(outcome.end, before);
  EXPECT_EQ(outcome.dropped, stream.str().size() - wanted.str().size());
}

/// Reads what came out as QEMU does: a record with CONTINUE belongs to the block named last in what *came out*.
std::vector<std::string> pages_as_loaded(std::string_view records) {
  std::vector<std::string> pages;
  std::string block;
  while (!records.empty()) {
    std::uint64_t word = 0;
    for (unsigned i = 0; i < 8; ++i) word = word << 8 | static_cast<unsigned char>(records[i]);
    records.remove_prefix(8);
    if ((word & 0x20) == 0) {
      const auto length = static_cast<unsigned char>(records[0]);
      block = records.substr(1, length);
      records.remove_prefix(1 + length);
    }
    pages.push_back(block + "@" + std::to_string(word >> 12) + records.front());
    records.remove_prefix((word & 8) != 0 ? 4096 : 1);
  }
  return pages;
}

// Every order of pages of three blocks, up to five long, written as QEMU writes it (a name when the block changes),
// with every choice of blocks dropped: what is loaded from the rest is what was meant.
TEST(StreamFilter, NamesStayRightInEveryOrder) {
  const std::string names[] = {"A", "B", "C"};
  auto head = opening();
  head.start().sizes({{"A", 0x100000}, {"B", 0x100000}, {"C", 0x100000}}).eos().footer().part();
  for (unsigned order = 0; order < 3 * 3 * 3 * 3 * 3; ++order) {
    for (unsigned dropped = 0; dropped < 8; ++dropped) {
      StreamBuilder records;
      std::vector<std::string> wanted;
      std::string last;
      FilterOptions options;
      for (unsigned i = 0; i < 3; ++i) {
        if ((dropped >> i & 1u) != 0) options.dropped_blocks.insert(names[i]);
      }
      for (unsigned i = 0, rest = order; i < 5; ++i, rest /= 3) {
        const std::string& block = names[rest % 3];
        if (block == last) {
          records.zero_on(i * 0x1000);
        } else {
          records.zero(block, i * 0x1000);
        }
        last = block;
        if (!options.dropped_blocks.contains(block)) wanted.push_back(block + "@" + std::to_string(i) + '\0');
      }
      Output out;
      auto filter = make_stream_filter(options, out);
      ASSERT_TRUE(filter->feed(head.bytes()));
      ASSERT_TRUE(filter->feed(records.bytes()));
      EXPECT_EQ(pages_as_loaded(std::string_view(out.passed).substr(head.str().size())), wanted);
    }
  }
}

/// The longest item there is, which may come in any pieces.
TEST(StreamFilter, BearsTheLongestNameOfABlock) {
  const std::string name(255, 'n');
  auto stream = opening();
  stream.start().sizes({{name, 0x1000}}, true).eos().footer();
  stream.end().zero(name, 0).eos().footer().raw(kBehindRam);
  FilterOptions options;
  options.ignore_shared = true;
  const Outcome outcome = run_every_way(stream.str(), options);
  EXPECT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_TRUE(outcome.passed == stream.str());
}

TEST(StreamFilter, KnowsTheConfigurationsSubsectionsAndCommands) {
  auto stream = opening();
  stream.ignore_shared().subsection("configuration/uuid").raw(std::string(16, 'u')).command(1, "").command(2, "ping");
  stream.start().sizes({{"ram0", 0x2000}, {"ram1", 0x2000}}, true).eos().footer();
  stream.part().zero("ram0", 0).zero_on(0x1000).zero("ram1", 0x1000).eos().footer();
  stream.command(11, "").end().zero("ram1", 0).eos().footer().raw(kBehindRam);
  FilterOptions options;
  options.ignore_shared = true;
  const Outcome outcome = run_every_way(stream.str(), options);
  EXPECT_FALSE(outcome.error) << outcome.error->message;
  EXPECT_TRUE(outcome.passed == stream.str());
  EXPECT_EQ(outcome.declared, 0x4000u);
}

TEST(StreamFilter, OldMachinesHaveNoConfiguration) {
  StreamBuilder stream;
  stream.header().start().sizes({{"pc.ram", 0x1000}}).zero("pc.ram", 0).eos().footer().end().eos().footer();
  const Outcome outcome = run_every_way(stream.str(), {});
  EXPECT_FALSE(outcome.error);
  EXPECT_TRUE(outcome.passed == stream.str());
}

struct Bad {
  const char* name;
  StreamBuilder stream;
  ErrorKind kind;
  const char* says;
};

TEST(StreamFilter, RefusesWhatItDoesNotKnowAndSaysWhere) {
  const Bad cases[] = {
      {"magic", StreamBuilder().be(0x12345678, 4).be(3, 4), ErrorKind::kProtocol, "byte 0: begins with 0x12345678"},
      {"version", StreamBuilder().be(0x5145564d, 4).be(2, 4), ErrorKind::kProtocol, "version 2"},
      {"two configurations", opening().configuration("x"), ErrorKind::kProtocol, "not the first"},
      {"long configuration", StreamBuilder().header().be(7, 1).be(0x80000000, 4), ErrorKind::kProtocol, "2147483648"},
      {"page bits", opening().subsection("configuration/target-page-bits").be(14, 4), ErrorKind::kProtocol, "4 KiB"},
      {"subsection", opening().subsection("configuration/new"), ErrorKind::kUnsupported, "'configuration/new'"},
      {"stray subsection", StreamBuilder().header().subsection("configuration/uuid"), ErrorKind::kProtocol, "without"},
      {"late subsection", setup().subsection("configuration/uuid"), ErrorKind::kProtocol, "without"},
      {"ignore-shared unasked", opening().ignore_shared(), ErrorKind::kProtocol, "x-ignore-shared"},
      {"mapped-ram", opening().subsection("configuration/capabilities").be(1, 4).text("mapped-ram"),
       ErrorKind::kUnsupported, "'mapped-ram'"},
      {"many capabilities", opening().subsection("configuration/capabilities").be(1u << 31, 4), ErrorKind::kProtocol,
       "2147483648 capabilities"},
      {"block migration", opening().start("block", 1), ErrorKind::kUnsupported, "'block'"},
      {"dirty bitmaps", setup().be(1, 1).be(3, 4).text("dirty-bitmap").be(0, 8), ErrorKind::kUnsupported,
       "'dirty-bitmap'"},
      {"early device", opening().be(4, 1).be(9, 4).text("virtio-mem-early").be(0, 8), ErrorKind::kUnsupported,
       "'virtio-mem-early'"},
      {"ram version", opening().start("ram", 5), ErrorKind::kUnsupported, "version 5"},
      {"two rams", setup().start(), ErrorKind::kProtocol, "second RAM section"},
      {"unknown section", setup().be(2, 1).be(77, 4), ErrorKind::kProtocol, "section 77"},
      {"part before start", opening().part(), ErrorKind::kProtocol, "never begun"},
      {"post-copy", setup().command(4, ""), ErrorKind::kUnsupported, "command 4"},
      {"unknown type", setup().be(9, 1), ErrorKind::kProtocol, "type 0x09"},
      {"early end", setup().be(0, 1), ErrorKind::kProtocol, "before RAM does"},
      {"early description", setup().be(6, 1), ErrorKind::kProtocol, "before RAM does"},
      {"xbzrle", setup().part().be(0x1000 | 0x40, 8), ErrorKind::kUnsupported, "flags 0x40"},
      {"multifd", setup().part().be(0x200, 8), ErrorKind::kUnsupported, "flags 0x200"},
      {"page and zero", setup().part().be(0xa, 8).text("pc.ram").be(0, 1), ErrorKind::kUnsupported, "flags 0xa"},
      {"unknown block", setup().part().zero("mystery", 0), ErrorKind::kProtocol, "'mystery'"},
      {"page beyond", setup().part().zero("pc.bios", 0x2000), ErrorKind::kProtocol, "0x2000 beyond"},
      {"no block", setup().part().zero_on(0), ErrorKind::kProtocol, "no RAM block"},
      {"list twice", setup().part().sizes({{"x", 0x1000}}), ErrorKind::kProtocol, "second list"},
      {"no list", opening().start().eos(), ErrorKind::kProtocol, "without a list"},
      {"empty list", opening().start().be(4, 8), ErrorKind::kProtocol, "no RAM at all"},
      {"block twice", opening().start().sizes({{"x", 0x1000}, {"x", 0x1000}}), ErrorKind::kProtocol, "'x' twice"},
      {"list too large", opening().start().be(0x1004, 8).text("x").be(0x2000, 8), ErrorKind::kProtocol, "exceeds"},
      {"no footer", opening().start().sizes({{"x", 0x1000}}).eos().be(2, 5), ErrorKind::kProtocol, "footer belongs"},
      {"other footer", opening().start().sizes({{"x", 0x1000}}).eos().be(0x7e, 1).be(9, 4), ErrorKind::kProtocol,
       "footer of section 9"},
      {"nothing", StreamBuilder(), ErrorKind::kProtocol, "ended at byte 0"},
      {"cut", setup(), ErrorKind::kProtocol, "before the end of RAM"},
  };
  for (const auto& bad : cases) {
    SCOPED_TRACE(bad.name);
    const Outcome outcome = run_every_way(bad.stream.str(), {});
    ASSERT_TRUE(outcome.error);
    EXPECT_EQ(outcome.error->kind, bad.kind) << outcome.error->message;
    EXPECT_THAT(outcome.error->message, HasSubstr(bad.says));
    EXPECT_FALSE(outcome.end);
  }
}

// The lanes would move a block that the sink's QEMU does not have.
TEST(StreamFilter, RefusesAStreamThatDoesNotListADroppedBlock) {
  FilterOptions options;
  options.dropped_blocks = {"pc.ram", "ram9"};
  const Outcome outcome = run_every_way(setup().end().eos().footer().str(), options);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, ErrorKind::kProtocol);
  EXPECT_THAT(outcome.error->message, HasSubstr("'ram9'"));
}

// QEMU leaves a block out that it takes for shared with the sink; nobody else would move one that is not main memory.
TEST(StreamFilter, EveryPageOfABlockThatPassesMustCome) {
  FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  auto stream = setup();
  stream.part();
  send_rest(stream).eos().footer();
  EXPECT_FALSE(run_every_way(StreamBuilder(stream).end().eos().footer().str(), options).error);
  // Pages of the last section count too, and a page that comes twice counts once.
  auto late = setup();
  late.part().zero("pc.bios", 0).zero_on(0x1000).zero("vga.vram", 0).zero_on(0x1000).zero_on(0x2000).eos().footer();
  EXPECT_FALSE(run_every_way(StreamBuilder(late).end().zero("vga.vram", 0x3000).eos().footer().str(), options).error);
  const auto twice = run_every_way(StreamBuilder(late).end().zero("vga.vram", 0x2000).eos().str(), options);
  ASSERT_TRUE(twice.error);
  EXPECT_EQ(twice.error->kind, ErrorKind::kUnsupported);
  EXPECT_THAT(twice.error->message, HasSubstr("only 3 of the 4 pages of RAM block 'vga.vram'"));
  const auto none = run_every_way(setup().end().eos().str(), options);
  ASSERT_TRUE(none.error);
  EXPECT_THAT(none.error->message, HasSubstr("only 0 of the 2 pages of RAM block 'pc.bios'"));
}

TEST(StreamFilter, OnlyBlocksThatAreKnownWithTheirLengths) {
  FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  options.lengths = {{"pc.ram", 0x8000}, {"vga.vram", 0x4000}, {"pc.bios", 0x2000}, {"not.migrated", 0x1000}};
  auto stream = setup();
  stream.end();
  send_rest(stream).eos().footer();
  EXPECT_FALSE(run_every_way(stream.str(), options).error);

  options.lengths["vga.vram"] = 0x5000;
  auto outcome = run_every_way(stream.str(), options);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, ErrorKind::kRefused);
  EXPECT_THAT(outcome.error->message, HasSubstr("'vga.vram'"));
  EXPECT_THAT(outcome.error->message, HasSubstr("it had 20480 bytes, it has 16384"));

  options.lengths.erase("vga.vram");
  outcome = run_every_way(stream.str(), options);
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, ErrorKind::kRefused);
  EXPECT_THAT(outcome.error->message, HasSubstr("RAM block 'vga.vram' of 16384 bytes has been added"));
}

/// A guest that reboots has its firmware tables built again, which may then be longer or shorter.
TEST(StreamFilter, BlocksThatPassMayHaveBeenResizedWithinTheirLimits) {
  FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  options.lengths = {{"pc.ram", 0x8000}, {"vga.vram", 0x4000}, {"pc.bios", 0x1000}};
  options.limits = {{"pc.ram", 0x8000}, {"vga.vram", 0x4000}, {"pc.bios", 0x2000}};
  auto stream = setup();
  stream.end();
  send_rest(stream).eos().footer();
  const auto longer = run_every_way(stream.str(), options);
  EXPECT_FALSE(longer.error) << longer.error->message;
  options.lengths["pc.bios"] = 0x3000;
  options.limits["pc.bios"] = 0x4000;
  EXPECT_FALSE(run_every_way(stream.str(), options).error) << "it is shorter now";

  options.limits["pc.bios"] = 0x1000;
  EXPECT_TRUE(run_every_way(stream.str(), options).error) << "longer than it may be";
  options.limits["pc.bios"] = 0x2000;
  options.lengths["pc.ram"] = 0x7000;
  const auto dropped = run_every_way(stream.str(), options);
  ASSERT_TRUE(dropped.error) << "the lanes have moved less than there is";
  EXPECT_THAT(dropped.error->message, HasSubstr("'pc.ram'"));
}

TEST(StreamFilter, BoundsWhatAStreamCanMakeItRemember) {
  auto stream = opening();
  stream.start().sizes({{"x", std::uint64_t{1} << 50}}).zero("x", (std::uint64_t{1} << 50) - 0x1000);
  const Outcome outcome = run_every_way(stream.str(), {});
  ASSERT_TRUE(outcome.error);
  EXPECT_EQ(outcome.error->kind, ErrorKind::kUnsupported);
  EXPECT_THAT(outcome.error->message, HasSubstr("besides main memory"));
}

TEST(StreamFilter, StaysFailedAfterAFailure) {
  Output out;
  auto filter = make_stream_filter({}, out);
  const auto bad = StreamBuilder().be(1, 8);
  EXPECT_FALSE(filter->feed(bad.bytes()));
  EXPECT_FALSE(filter->feed(setup().bytes()));
  EXPECT_FALSE(filter->finish());
  EXPECT_EQ(out.passed, "");
}

TEST(StreamFilter, GivesTheOutputsErrorBack) {
  Output out;
  out.fail_at = 100;
  auto filter = make_stream_filter({}, out);
  const auto status = filter->feed(setup().part().page("pc.ram", 0, 'a').bytes());
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().kind, ErrorKind::kPeerLost);
}

// Not a benchmark: what passes must come in runs, not record by record.
TEST(StreamFilter, PassesLongRunsWithoutCuttingThem) {
  class Counting final : public FilterOutput {
   public:
    Status pass(Bytes) override { return ++runs, Status{}; }
    Status ram_ends() override { return {}; }
    unsigned runs = 0;
  } out;
  auto stream = setup();
  stream.part().page("vga.vram", 0, 'v');
  for (unsigned i = 1; i < 100; ++i) stream.page_on(i % 4 * 0x1000, 'v');
  auto filter = make_stream_filter({}, out);
  ASSERT_TRUE(filter->feed(stream.bytes()));
  EXPECT_EQ(out.runs, 1u);
}

}  // namespace
}  // namespace godwit::qemu::stream_filter_test
