// The stream filter: QEMU's migration stream without the RAM that the lanes move themselves.
//
//   QEMU --> | header, configuration | section "ram": MEM_SIZE, pages of pc.ram, pages of vga.vram, EOS | devices ... |
//   out  --> | header, configuration | section "ram": MEM_SIZE,                  pages of vga.vram, EOS | devices ... |
//
// Page records of the blocks named are dropped; everything else passes through byte for byte. After RAM's END section
// everything passes untouched. Every block is accounted for: it is dropped, for the lanes move it, or each of its pages
// must have come before RAM's END section does. Only the format of a stream without multifd, compression, xbzrle or
// mapped-ram is known, which is what Godwit asks QEMU for. Facts about the format: QEMU's docs/devel/migration;
// measured on 7.2 and 10.0.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "base/bytes.h"
#include "base/result.h"

namespace godwit::qemu {

/// Where the filtered stream goes. The bytes live during the call.
class FilterOutput {
 public:
  virtual ~FilterOutput() = default;
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
  virtual ~StreamFilter() = default;
  /// kProtocol names the place (byte offset) and what stood there where the format is not as known, kRefused a block
  /// that is not as known, kUnsupported one that is not sent wholly; then nothing more may be fed.
  virtual Status feed(Bytes bytes) = 0;
  /// The end of the stream was read: kProtocol if it came before RAM's END section.
  virtual Status finish() = 0;
  virtual PageRecords page_records() const noexcept = 0;
  /// Bytes of page records dropped so far.
  virtual std::uint64_t dropped_bytes() const noexcept = 0;
  /// RAM bytes that QEMU declared in all (its ram.total), known after the setup section.
  virtual std::uint64_t declared_bytes() const noexcept = 0;
};

std::unique_ptr<StreamFilter> make_stream_filter(FilterOptions options, FilterOutput& out);

}  // namespace godwit::qemu
