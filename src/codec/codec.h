// Encoders and decoders of blocks: what is sent of one chunk, joined, at most 256 KiB (wire/block.h).
//
// A block is encoded without history: decoding one needs no other.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace godwit {

/// Numbers on the wire (src/wire/spec.md); never reused.
enum class CodecId : std::uint8_t { kRaw = 0, kLz4 = 1, kZstd = 2, kDeflate = 3 };

std::string_view name_of(CodecId id) noexcept;

/// A codec and its level, as "raw", "lz4", "lz4:16" (acceleration, 1..64), "zstd", "zstd:3" (-7..19),
/// "deflate", "deflate:2" (1..3).
struct CodecChoice {
  CodecId id = CodecId::kZstd;
  int level = 1;
  bool operator==(const CodecChoice&) const = default;
};
/// kInvalidArgument names the text and the choices.
Result<CodecChoice> parse_codec(std::string_view text);
std::string format_codec(const CodecChoice& choice);

/// One block to encode. The bytes behind the spans live until the job's Done has been collected.
struct EncodeJob {
  std::uint64_t ticket = 0;  ///< the caller's; comes back in Done
  Bytes input;
  MutableBytes output;  ///< as long as the input at least; an encoder never needs more
};

/// What came of a job. `size` is 0 if the block could not be made smaller than its input: send it raw.
struct EncodeDone {
  std::uint64_t ticket = 0;
  std::size_t size = 0;
};

/// Owned and called by one lane's thread. Accelerators answer later; software answers inside submit() and hands the
/// answers out in collect().
class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual CodecId id() const noexcept = 0;
  /// Jobs that may be under way at once: 1 for software.
  virtual std::size_t depth() const noexcept = 0;
  /// Takes the first n jobs and gives n; n < jobs.size() when depth() jobs are under way.
  virtual Result<std::size_t> submit(std::span<const EncodeJob> jobs) = 0;
  /// Waits until at least one job under way is done; gives how many of `done` were filled. 0: nothing under way, or
  /// stopped.
  virtual Result<std::size_t> collect(std::span<EncodeDone> done, std::stop_token stop) = 0;
};

/// Owned and called by one lane's thread.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Fills `out` exactly. kProtocol if the block is damaged, too short or too long: input is never trusted, nothing is
  /// read or written out of bounds.
  virtual Status decode(Bytes in, MutableBytes out) = 0;
};

/// The registry: a codec is a line here and a file beside it. Raw has no encoder (nullptr): its blocks are the input.
Result<std::unique_ptr<Encoder>> make_encoder(const CodecChoice& choice);
/// kProtocol for a number that this version does not know.
Result<std::unique_ptr<Decoder>> make_decoder(CodecId id);

}  // namespace godwit
