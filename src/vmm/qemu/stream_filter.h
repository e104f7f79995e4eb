// The stream filter: QEMU's migration stream without the RAM that the lanes move themselves.
//
//   QEMU --> | header, configuration | section "ram": MEM_SIZE, pages of pc.ram, pages of vga.vram, EOS | devices ... |
//   out  --> | header, configuration | section "ram": MEM_SIZE,                  pages of vga.vram, EOS | devices ... |
//
// Page records of the blocks named are dropped; everything else passes through byte for byte. After RAM's END section
// everything passes untouched. Every block is accounted for: it is dropped, because the lanes move it, or each of its
// pages must have come before RAM's END section does. Only the format of a stream without multifd, compression, xbzrle
// or mapped-ram is known, which is what Godwit asks QEMU for. Facts about the format: QEMU's docs/devel/migration;
// measured on 7.2 and 10.0.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "vmm/qemu/stream_format.h"

namespace godwit::qemu {

/// Where the filtered stream goes. The bytes are valid during the call.
class FilterOutput {
 public:
  virtual ~FilterOutput() = default;
  /// Bytes of RAM's sections and what comes behind them never come in one call.
  virtual Status pass(Bytes bytes) = 0;
  /// RAM's END section begins: QEMU has stopped the guest and drained its disks. Everything passed from here on must
  /// not be loaded before RAM is in place.
  virtual Status ram_ends() = 0;
};

struct FilterOptions {
  std::set<std::string> dropped_blocks;  ///< RAM block names whose pages the lanes move
  /// All RAM blocks that the VM is known to have, with their lengths in bytes: any other block or length is refused.
  /// Empty: not known.
  std::map<std::string, std::uint64_t> lengths;
  /// To what length each may be resized: firmware tables are, when the guest reboots, and QEMU takes that in. Those
  /// that are dropped must have the length above.
  std::map<std::string, std::uint64_t> limits;
  bool ignore_shared = false;  ///< x-ignore-shared is set: MEM_SIZE entries carry an address
};

/// Page records in the stream so far, of every block.
struct PageRecords {
  std::uint64_t pages = 0;  ///< with content
  std::uint64_t zeros = 0;
  bool all = false;  ///< RAM's END section has been read to its end: no more will come
};

/// A push parser without I/O: takes pieces of any size. Any length in the stream is checked against a limit.
class StreamFilter {
 public:
  /// `out` outlives it.
  StreamFilter(FilterOptions options, FilterOutput& out) : options_(std::move(options)), out_(out) {}

  /// kProtocol names the place (byte offset) and what was there where the format is not as known, kRefused a block
  /// that is not as known, kUnsupported one that is not sent wholly; then nothing more may be fed.
  Status feed(Bytes bytes);
  /// The end of the stream was read: kProtocol if it came before RAM's END section.
  Status finish();
  PageRecords page_records() const noexcept { return {pages_, zeros_, step_ == Step::kBehindRam}; }
  /// Bytes of page records dropped so far.
  std::uint64_t dropped_bytes() const noexcept { return dropped_; }
  /// RAM bytes that QEMU declared in all (its ram.total), known after the setup section.
  std::uint64_t declared_bytes() const noexcept { return declared_; }

 private:
  /// The longest items: a section's head (type, id, name, instance, version), and a RAM block (name, length, address).
  static constexpr std::size_t kLongestText = 1 + 255;
  static constexpr std::size_t kMaxItem = std::max(1 + 4 + kLongestText + 4 + 4, kLongestText + 8 + 8);

  /// What the next item is.
  enum class Step { kHeader, kSection, kCapabilityCount, kCapability, kRamWord, kBlockEntry, kFooter, kBehindRam };
  /// What becomes of an item.
  enum class Fate { kPass, kDrop, kRamEnds, kRamEnded };

  struct Block {
    std::uint64_t size = 0;
    bool dropped = false;
    std::vector<std::uint64_t> sent = {};  // a bit for each page of a block that passes; empty before the first
    std::uint64_t pages_sent = 0;

    std::uint64_t pages() const noexcept { return (size + kTargetPageSize - 1) / kTargetPageSize; }
    void note(std::uint64_t page);
  };

  Status digest(Bytes bytes);
  Status take_payload(Bytes bytes, std::size_t& at, std::size_t& run);
  Status take_item(Bytes bytes, std::size_t& at, std::size_t& run);
  Status take_carried_item(Bytes bytes, std::size_t& at, std::size_t& run);
  Status pass(Bytes bytes) { return bytes.empty() ? Status{} : out_.pass(bytes); }

  /// How long the item at the start of `prefix` is, as far as `prefix` tells: more than prefix.size() asks for more.
  std::size_t item_length(Bytes prefix) const noexcept;
  Result<Fate> parse(Bytes item);
  Result<Fate> parse_header(Bytes item);
  Result<Fate> parse_section(Bytes item);
  Result<Fate> parse_configuration(Bytes item);
  Result<Fate> parse_subsection(Bytes item);
  Result<Fate> parse_capability(Bytes item);
  Result<Fate> parse_start(Bytes item);
  Result<Fate> parse_command(Bytes item);
  Result<Fate> parse_ram_word(Bytes item);
  Result<Fate> parse_page(Bytes item, std::uint64_t word);
  Result<Fate> parse_block_entry(Bytes item);
  Result<Fate> parse_footer(Bytes item);
  Status check_length(const std::string& name, std::uint64_t size) const;
  Status check_all_named() const;
  Status check_all_sent() const;

  tl::unexpected<Error> broken(std::string_view what) const;
  tl::unexpected<Error> foreign(std::string_view what) const;
  void expect_payload(std::uint64_t length, bool dropped) {
    payload_left_ = length;
    payload_dropped_ = dropped;
  }

  FilterOptions options_;
  FilterOutput& out_;
  std::optional<Error> failure_;

  Step step_ = Step::kHeader;
  bool configured_ = false;  // right behind the configuration, where its subsections are
  std::uint32_t capabilities_left_ = 0;
  std::optional<std::uint32_t> ram_section_;
  std::uint8_t section_type_ = 0;  // of the RAM section under way
  std::uint64_t sizes_left_ = 0;   // bytes of RAM whose blocks have not been listed yet
  std::map<std::string, Block, std::less<>> blocks_;
  std::uint64_t passed_size_ = 0;  // of the blocks that are not dropped
  Block* current_ = nullptr;       // the block of the record before

  std::uint64_t payload_left_ = 0;
  bool payload_dropped_ = false;

  std::array<std::byte, kMaxItem> carry_{};
  std::size_t carried_ = 0;

  std::uint64_t offset_ = 0;       // bytes of the stream before the present piece
  std::uint64_t item_offset_ = 0;  // of the item being parsed, for messages
  std::uint64_t dropped_ = 0;
  std::uint64_t pages_ = 0;
  std::uint64_t zeros_ = 0;
  std::uint64_t declared_ = 0;
};

std::unique_ptr<StreamFilter> make_stream_filter(FilterOptions options, FilterOutput& out);

}  // namespace godwit::qemu
