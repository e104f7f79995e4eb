// The stream filter as a push parser. It cuts the stream into items (a section's head, a RAM word with its name, a
// footer) and payloads (a page, a command's bytes). Items are small and parsed where they lie; one that is split
// between two pieces is put together in a carry buffer. Payloads are counted, never looked at. What passes is passed in
// runs as long as the piece allows, without a copy.
//
//   piece  | item payload | item payload | item pay
//            `--- run passed ---'  `-- dropped --'
//
// Whole blocks are dropped, so the names stay right: QEMU leaves a name out (CONTINUE) only when the record before was
// of the same block, and then that record was passed, or dropped, like this one.
#include "vmm/qemu/stream_filter.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/limits.h"
#include "vmm/qemu/stream_format.h"

namespace godwit::qemu {
namespace {

// A VM has one block for each backend, ROM and video memory: dozens. The limit bounds what a broken stream can
// allocate.
constexpr std::size_t kMostStreamBlocks = 4 * most::kRamBlocks;
// Blocks that the lanes leave to QEMU are ROMs and video memory. The limit bounds the bits that say which of their
// pages have been sent: 2 MiB of them.
constexpr std::uint64_t kMaxPassed = most::kRamOfTheStream;
constexpr std::size_t kHeaderLength = 8;  // magic and version
// A machine type's name; QEMU's longest has 21 letters.
constexpr std::uint32_t kMaxConfiguration = 4096;
// x-ignore-shared and those that later versions check too; QEMU knows about 20 in all.
constexpr std::uint32_t kMaxCapabilities = 64;
// Commands that belong to post-copy or COLO wrap streams into others, which nobody here asked for.
constexpr std::uint16_t kFirstForeignCommand = 3;
constexpr std::uint16_t kLastForeignCommand = 10;

}  // namespace

Status StreamFilter::feed(Bytes bytes) {
  if (failure_) return fail(*failure_);
  auto digested = digest(bytes);
  if (!digested) failure_ = digested.error();
  return digested;
}

Status StreamFilter::finish() {
  if (failure_) return fail(*failure_);
  if (step_ == Step::kBehindRam) return {};
  return fail(ErrorKind::kProtocol,
              fmt::format("QEMU's stream ended at byte {}, before the end of RAM", offset_ + carried_));
}

tl::unexpected<Error> StreamFilter::broken(std::string_view what) const {
  return fail(ErrorKind::kProtocol, fmt::format("QEMU's stream at byte {}: {}", item_offset_, what));
}

tl::unexpected<Error> StreamFilter::foreign(std::string_view what) const {
  return fail(ErrorKind::kUnsupported, fmt::format("QEMU's stream at byte {}: {}", item_offset_, what));
}

void StreamFilter::Block::note(std::uint64_t page) {
  constexpr std::uint64_t kBits = 64;
  if (sent.empty()) sent.resize((pages() + kBits - 1) / kBits);
  std::uint64_t& word = sent[page / kBits];
  const std::uint64_t bit = std::uint64_t{1} << (page % kBits);
  if ((word & bit) == 0) ++pages_sent;
  word |= bit;
}

// `at` is the place reached in the piece; [run, at) waits to be passed.
Status StreamFilter::digest(Bytes bytes) {
  std::size_t at = 0;
  std::size_t run = 0;
  while (at < bytes.size()) {
    if (step_ == Step::kBehindRam) {
      at = bytes.size();
    } else if (payload_left_ > 0) {
      TRY(take_payload(bytes, at, run));
    } else if (carried_ > 0) {
      TRY(take_carried_item(bytes, at, run));
    } else {
      TRY(take_item(bytes, at, run));
    }
  }
  TRY(pass(bytes.subspan(run, at - run)));
  offset_ += bytes.size();
  return {};
}

Status StreamFilter::take_payload(Bytes bytes, std::size_t& at, std::size_t& run) {
  const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(payload_left_, bytes.size() - at));
  if (payload_dropped_) {
    TRY(pass(bytes.subspan(run, at - run)));
    run = at + length;
    dropped_ += length;
  }
  at += length;
  payload_left_ -= length;
  return {};
}

Status StreamFilter::take_item(Bytes bytes, std::size_t& at, std::size_t& run) {
  const Bytes rest = bytes.subspan(at);
  const std::size_t length = item_length(rest);
  if (length > rest.size()) {
    TRY(pass(bytes.subspan(run, at - run)));
    std::memcpy(carry_.data(), rest.data(), rest.size());
    carried_ = rest.size();
    run = at = bytes.size();
    return {};
  }
  item_offset_ = offset_ + at;
  const Fate fate = TRY(parse(rest.first(length)));
  if (fate == Fate::kDrop || fate == Fate::kRamEnds) {
    TRY(pass(bytes.subspan(run, at - run)));
    run = at;
  }
  if (fate == Fate::kRamEnds) TRY(out_.ram_ends());
  at += length;
  if (fate == Fate::kDrop) {
    run = at;
    dropped_ += length;
  }
  if (fate == Fate::kRamEnded) {
    TRY(pass(bytes.subspan(run, at - run)));
    run = at;
    step_ = Step::kBehindRam;
  }
  return {};
}

Status StreamFilter::take_carried_item(Bytes bytes, std::size_t& at, std::size_t& run) {
  std::size_t needed = item_length(Bytes(carry_).first(carried_));
  while (carried_ < needed && at < bytes.size()) {
    const std::size_t more = std::min(needed - carried_, bytes.size() - at);
    std::memcpy(carry_.data() + carried_, bytes.data() + at, more);
    carried_ += more;
    at += more;
    needed = item_length(Bytes(carry_).first(carried_));
  }
  run = at;
  if (carried_ < needed) return {};
  item_offset_ = offset_ + at - carried_;
  const Bytes item = Bytes(carry_).first(std::exchange(carried_, 0));
  const Fate fate = TRY(parse(item));
  if (fate == Fate::kRamEnds) TRY(out_.ram_ends());
  if (fate == Fate::kDrop) {
    dropped_ += item.size();
    return {};
  }
  TRY(pass(item));
  if (fate == Fate::kRamEnded) step_ = Step::kBehindRam;
  return {};
}

std::size_t StreamFilter::item_length(Bytes prefix) const noexcept {
  // The length of a text whose length byte is at `place`, with that byte; 1 while it has not come yet.
  const auto text = [&](std::size_t place) -> std::size_t {
    return prefix.size() > place ? 1 + std::to_integer<std::size_t>(prefix[place]) : 1;
  };
  switch (step_) {
    case Step::kHeader:
      return kHeaderLength;
    case Step::kSection:
      switch (std::to_integer<std::uint8_t>(prefix[0])) {
        case section::kStart:
        case section::kFull:
          return 5 + text(5) + 8;
        case section::kSubsection:
          return 1 + text(1) + 4;
        case section::kConfiguration:
        case section::kPart:
        case section::kEnd:
        case section::kCommand:
          return 5;
        default:
          return 1;
      }
    case Step::kCapabilityCount:
      return 4;
    case Step::kCapability:
      return text(0);
    case Step::kRamWord: {
      if (prefix.size() < 8) return 8;
      const auto word = load_big_endian<std::uint64_t>(prefix);
      std::size_t length = 8;
      if ((word & (ram_flag::kPage | ram_flag::kZero)) != 0 && (word & ram_flag::kContinue) == 0) length += text(8);
      if ((word & ram_flag::kZero) != 0) length += 1;
      return length;
    }
    case Step::kBlockEntry:
      return text(0) + 8 + (options_.ignore_shared ? 8 : 0);
    case Step::kFooter:
      return 5;
    case Step::kBehindRam:
      break;
  }
  return 1;
}

Result<StreamFilter::Fate> StreamFilter::parse(Bytes item) {
  switch (step_) {
    case Step::kHeader:
      return parse_header(item);
    case Step::kSection:
      return parse_section(item);
    case Step::kCapabilityCount:
      capabilities_left_ = load_big_endian<std::uint32_t>(item);
      if (capabilities_left_ > kMaxCapabilities) {
        return broken(fmt::format("{} capabilities in its configuration", capabilities_left_));
      }
      step_ = capabilities_left_ == 0 ? Step::kSection : Step::kCapability;
      return Fate::kPass;
    case Step::kCapability:
      return parse_capability(item);
    case Step::kRamWord:
      return parse_ram_word(item);
    case Step::kBlockEntry:
      return parse_block_entry(item);
    case Step::kFooter:
      return parse_footer(item);
    case Step::kBehindRam:
      break;
  }
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_header(Bytes item) {
  const auto magic = load_big_endian<std::uint32_t>(item);
  const auto version = load_big_endian<std::uint32_t>(item.subspan(4));
  if (magic != kStreamMagic) return broken(fmt::format("begins with {:#010x}, not with \"QEVM\"", magic));
  if (version != kStreamVersion) return broken(fmt::format("has version {}, not {}", version, kStreamVersion));
  step_ = Step::kSection;
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_section(Bytes item) {
  const auto type = std::to_integer<std::uint8_t>(item[0]);
  if (type == section::kSubsection) return parse_subsection(item);
  const bool first = item_offset_ == kHeaderLength;
  configured_ = false;
  switch (type) {
    case section::kConfiguration:
      if (!first) return broken("a configuration section that is not the first");
      return parse_configuration(item);
    case section::kStart:
    case section::kFull:
      return parse_start(item);
    case section::kPart:
    case section::kEnd: {
      const auto id = load_big_endian<std::uint32_t>(item.subspan(1));
      if (id != ram_section_) return broken(fmt::format("section {} goes on but was never begun", id));
      section_type_ = type;
      step_ = Step::kRamWord;
      return type == section::kEnd ? Fate::kRamEnds : Fate::kPass;
    }
    case section::kCommand:
      return parse_command(item);
    case section::kEof:
    case section::kDescription:
      return broken("the stream ends before RAM does");
    default:
      return broken(fmt::format("a section of unknown type {:#04x}", type));
  }
}

Result<StreamFilter::Fate> StreamFilter::parse_configuration(Bytes item) {
  const auto length = load_big_endian<std::uint32_t>(item.subspan(1));
  if (length > kMaxConfiguration) return broken(fmt::format("a machine type's name of {} bytes", length));
  expect_payload(length, false);
  configured_ = true;
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_subsection(Bytes item) {
  const auto name = text_of(item.subspan(2, item.size() - 2 - 4));
  if (!configured_) return broken(fmt::format("subsection '{}' without a configuration", name));
  if (name == "configuration/target-page-bits") return broken("guest pages of another size than 4 KiB");
  if (name == "configuration/uuid") {
    expect_payload(16, false);
  } else if (name == "configuration/capabilities") {
    step_ = Step::kCapabilityCount;
  } else {
    return foreign(fmt::format("unknown part '{}' of the configuration", name));
  }
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_capability(Bytes item) {
  const auto name = text_of(item.subspan(1));
  if (name == "x-ignore-shared") {
    if (!options_.ignore_shared) return broken("capability x-ignore-shared is on, which nobody here asked for");
  } else {
    return foreign(fmt::format("capability '{}' is on, whose format is not known here", name));
  }
  if (--capabilities_left_ == 0) step_ = Step::kSection;
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_start(Bytes item) {
  const auto type = std::to_integer<std::uint8_t>(item[0]);
  const auto name = text_of(item.subspan(6, item.size() - 6 - 8));
  const auto version = load_big_endian<std::uint32_t>(item.last(4));
  if (type == section::kFull || name != "ram") {
    return foreign(fmt::format("section '{}' before the end of RAM, whose length only QEMU knows", name));
  }
  if (ram_section_) return broken("a second RAM section");
  if (version != kRamVersion) return foreign(fmt::format("RAM section of version {}, not {}", version, kRamVersion));
  ram_section_ = load_big_endian<std::uint32_t>(item.subspan(1));
  section_type_ = type;
  step_ = Step::kRamWord;
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_command(Bytes item) {
  const auto command = load_big_endian<std::uint16_t>(item.subspan(1));
  if (command >= kFirstForeignCommand && command <= kLastForeignCommand) {
    return foreign(fmt::format("command {}, which belongs to post-copy", command));
  }
  expect_payload(load_big_endian<std::uint16_t>(item.subspan(3)), false);
  return Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_ram_word(Bytes item) {
  const auto word = load_big_endian<std::uint64_t>(item);
  switch (word & ram_flag::kAll & ~ram_flag::kContinue) {
    case ram_flag::kPage:
    case ram_flag::kZero:
      return parse_page(item, word);
    case ram_flag::kSizes:
      if (section_type_ != section::kStart || declared_ != 0) return broken("a second list of RAM blocks");
      declared_ = sizes_left_ = word & ~ram_flag::kAll;
      if (declared_ == 0) return broken("no RAM at all");
      step_ = Step::kBlockEntry;
      return Fate::kPass;
    case ram_flag::kEndOfPart:
      if (declared_ == 0) return broken("RAM begins without a list of its blocks");
      if (section_type_ == section::kEnd) TRY(check_all_sent());
      step_ = Step::kFooter;
      return Fate::kPass;
    default:
      return foreign(fmt::format("a RAM record with flags {:#x} (multifd, compression and xbzrle are not known here)",
                                 word & ram_flag::kAll));
  }
}

Result<StreamFilter::Fate> StreamFilter::parse_page(Bytes item, std::uint64_t word) {
  const std::uint64_t address = word & ~ram_flag::kAll;
  const bool zero = (word & ram_flag::kZero) != 0;
  if ((word & ram_flag::kContinue) == 0) {
    const auto name = text_of(item.subspan(9, item.size() - 9 - (zero ? 1 : 0)));
    const auto found = blocks_.find(name);
    if (found == blocks_.end()) return broken(fmt::format("a page of unknown RAM block '{}'", name));
    current_ = &found->second;
  }
  if (current_ == nullptr) return broken("a page of no RAM block");
  if (address >= current_->size) {
    return broken(fmt::format("page {:#x} beyond its block's end {:#x}", address, current_->size));
  }
  if (!current_->dropped) current_->note(address / kTargetPageSize);
  ++(zero ? zeros_ : pages_);
  if (!zero) expect_payload(kTargetPageSize, current_->dropped);
  return current_->dropped ? Fate::kDrop : Fate::kPass;
}

Result<StreamFilter::Fate> StreamFilter::parse_block_entry(Bytes item) {
  const auto length = std::to_integer<std::size_t>(item[0]);
  std::string name(text_of(item.subspan(1, length)));
  const auto size = load_big_endian<std::uint64_t>(item.subspan(1 + length));
  if (size > sizes_left_) return broken(fmt::format("block '{}' of {} bytes exceeds the RAM declared", name, size));
  if (blocks_.size() >= kMostStreamBlocks) return broken(fmt::format("more than {} RAM blocks", kMostStreamBlocks));
  TRY(check_length(name, size));
  sizes_left_ -= size;
  const bool dropped = options_.dropped_blocks.contains(name);
  if (!dropped) passed_size_ += size;
  if (passed_size_ > kMaxPassed) return foreign(fmt::format("more than {} bytes besides main memory", kMaxPassed));
  if (!blocks_.emplace(name, Block{size, dropped}).second) return broken(fmt::format("RAM block '{}' twice", name));
  if (sizes_left_ == 0) {
    TRY(check_all_named());
    step_ = Step::kRamWord;
  }
  return Fate::kPass;
}

// The lanes move what was found when the VM was looked at: a block that has come since, or has another length, would
// reach the sink in part or not at all.
Status StreamFilter::check_length(const std::string& name, std::uint64_t size) const {
  if (options_.lengths.empty()) return {};
  const auto known = options_.lengths.find(name);
  if (known == options_.lengths.end()) {
    return fail(ErrorKind::kRefused, fmt::format("RAM block '{}' of {} bytes has been added to this VM", name, size));
  }
  if (known->second == size) return {};
  const auto limit = options_.limits.find(name);
  if (limit != options_.limits.end() && size <= limit->second && !options_.dropped_blocks.contains(name)) return {};
  return fail(ErrorKind::kRefused, fmt::format("RAM block '{}' of this VM has been resized: it had {} bytes, it has {}",
                                               name, known->second, size));
}

// A block that nobody sends, neither QEMU nor the lanes under the same name, would be missing at the sink.
Status StreamFilter::check_all_named() const {
  for (const auto& name : options_.dropped_blocks) {
    if (!blocks_.contains(name)) return broken(fmt::format("QEMU lists no RAM block '{}'", name));
  }
  return {};
}

// QEMU leaves out blocks that it takes for shared with the sink (x-ignore-shared). Those that the lanes move may be
// left out; of all others every page must have come, or the sink would run with pages that nobody sent.
Status StreamFilter::check_all_sent() const {
  for (const auto& [name, block] : blocks_) {
    if (block.dropped || block.pages_sent == block.pages()) continue;
    return foreign(fmt::format("only {} of the {} pages of RAM block '{}' were sent, and it is not main memory",
                               block.pages_sent, block.pages(), name));
  }
  return {};
}

Result<StreamFilter::Fate> StreamFilter::parse_footer(Bytes item) {
  const auto mark = std::to_integer<std::uint8_t>(item[0]);
  if (mark != section::kFooter) return broken(fmt::format("{:#04x} where a section's footer belongs", mark));
  const auto id = load_big_endian<std::uint32_t>(item.subspan(1));
  if (id != ram_section_) return broken(fmt::format("the footer of section {} behind RAM", id));
  // That RAM is over must not be known before all of it has been passed.
  if (section_type_ == section::kEnd) return Fate::kRamEnded;
  step_ = Step::kSection;
  return Fate::kPass;
}

std::unique_ptr<StreamFilter> make_stream_filter(FilterOptions options, FilterOutput& out) {
  return std::make_unique<StreamFilter>(std::move(options), out);
}

}  // namespace godwit::qemu
