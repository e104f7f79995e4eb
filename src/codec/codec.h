// Encoders and decoders of blocks: what is sent of one chunk, joined, at most 256 KiB (wire/block.h).
//
// A block is encoded without history: decoding one needs no other.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "codec/job_queue.h"

namespace godwit {

/// Numbers on the wire (src/wire/spec.md); never reused.
enum class CodecId : std::uint8_t { kRaw = 0, kLz4 = 1, kZstd = 2, kDeflate = 3 };

/// What the registry says of a codec.
struct CodecInfo {
  CodecId id = CodecId::kRaw;
  std::string_view name;
  int lowest = 1;  ///< levels; one only if lowest and highest are the same
  int highest = 1;
  std::string_view level_is = "LEVEL";  ///< what the level is called in texts

  bool has_levels() const noexcept { return lowest != highest; }
  /// To zstd level 0 means "the default": a level that does not say which it is is not accepted.
  bool has_level(int level) const noexcept { return level >= lowest && level <= highest && level != 0; }
};
/// All there are, by their numbers. Tests and fuzz targets take them from here.
std::span<const CodecInfo> codecs() noexcept;

std::string_view name_of(CodecId id) noexcept;

/// Who encodes a wire format that both can.
enum class CodecDevice : std::uint8_t { kCpu, kQat, kIaa };

/// A codec and its level, as "zstd", "zstd:3", "lz4:16" (its acceleration), "raw", which has none; "qat" and "iaa" are
/// deflate by a device, and by the CPU what it does not do.
struct CodecChoice {
  CodecId id = CodecId::kZstd;
  int level = 1;
  CodecDevice device = CodecDevice::kCpu;
  bool operator==(const CodecChoice&) const = default;
};
/// kInvalidArgument names the text and the choices.
Result<CodecChoice> parse_codec(std::string_view text);
std::string format_codec(const CodecChoice& choice);

/// One block to encode: all pages that are sent of a chunk, so that one request of a device carries many of them.
/// From submit() on both spans belong to the encoder, until it has answered or is destroyed: the input stays as it is,
/// except for one in guest RAM that says that it changes, and nobody else looks at the output.
struct EncodeJob {
  std::uint64_t ticket = 0;  ///< the caller's; comes back in the answer
  Bytes input;
  MutableBytes output;   ///< as long as the input at least; an encoder never needs more
  bool by_cpu = false;   ///< a device is not to be asked: taken, however much is under way there
  bool changes = false;  ///< others write to the input meanwhile: taken by one that reads_in_place() only
};

/// The answer to one job. `size` is 0 if the block could not be made smaller than its input: send it raw.
struct EncodeDone {
  std::uint64_t ticket = 0;
  std::size_t size = 0;
  bool failed = false;  ///< nothing is known of the block (a device's error): `size` is 0, and it goes raw, too
  bool by_cpu = false;  ///< of a device's encoder: the device did not do it
  bool unread = false;  ///< of an input that changes: not done, for whatever reason; to be copied, and submitted again
  Duration worked{};    ///< CPU time that it took another thread than the one that submitted it
};

/// What was not taken or not encoded goes raw (engine/lane_encoders.h).
class Encoder : public JobQueue<EncodeJob, EncodeDone> {
 public:
  virtual CodecId id() const noexcept = 0;
  /// Of one that leaves the work to a device: nanoseconds of waiting that a byte more costs this lane now, by the
  /// device's queue and its pace. Nothing: it has none, or not any more.
  virtual std::optional<double> device_wait_per_byte() const noexcept { return std::nullopt; }
  /// Takes inputs that change. What it makes of one is what the lane has seen of it when it was submitted.
  virtual bool reads_in_place() const noexcept { return false; }
  /// The device has had it for longer than whoever has nothing else to do should wait.
  virtual bool is_late(std::uint64_t) const noexcept { return false; }
  /// Of one that is late: as DeviceQueue::forsake(). It may be submitted again at once.
  virtual void forsake(std::uint64_t, std::vector<std::byte>) {}
  /// collect() that waits for a device until then at most.
  virtual Result<std::size_t> collect_until(std::span<EncodeDone> done, std::stop_token stop, Instant) {
    return collect(done, std::move(stop));
  }
};

/// Owned and called by one thread; decodes at once. Those that answer later: codec/decoder_provider.h.
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
