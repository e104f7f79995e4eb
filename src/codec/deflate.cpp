// Raw deflate (RFC 1951) by ISA-L: one stream per block, no wrapper and no checksum around it.
//
// Matches reach back 4 KiB at most. So any accelerator can decode the blocks, and what any accelerator or library with
// such a window encodes can be decoded here.
#include <fmt/core.h>
#include <isa-l/igzip_lib.h>

#include <array>
#include <vector>

#include "codec/software_encoder.h"

namespace godwit {

namespace {

// 2^12 bytes are the history that the smallest of accelerators keep.
constexpr int kHistoryBits = 12;

/// Memory that ISA-L asks for at each level, in bytes.
constexpr std::array<std::uint32_t, 4> kLevelMemory = {ISAL_DEF_LVL0_DEFAULT, ISAL_DEF_LVL1_DEFAULT,
                                                       ISAL_DEF_LVL2_DEFAULT, ISAL_DEF_LVL3_DEFAULT};

// The library reads through pointers to mutable bytes.
std::uint8_t* readable(Bytes bytes) noexcept {
  return const_cast<std::uint8_t*>(reinterpret_cast<const std::uint8_t*>(bytes.data()));
}
std::uint8_t* writable(MutableBytes bytes) noexcept {
  return reinterpret_cast<std::uint8_t*>(bytes.data());
}

class DeflateEncoder final : public SoftwareEncoder {
 public:
  explicit DeflateEncoder(int level)
      : level_(static_cast<std::uint32_t>(level)), memory_(kLevelMemory[level_]), stream_(new isal_zstream) {}
  CodecId id() const noexcept override { return CodecId::kDeflate; }

 private:
  Result<std::size_t> encode(Bytes input, MutableBytes output) override {
    isal_deflate_stateless_init(stream_.get());
    stream_->level = level_;
    stream_->level_buf = memory_.data();
    stream_->level_buf_size = static_cast<std::uint32_t>(memory_.size());
    stream_->hist_bits = kHistoryBits;
    stream_->gzip_flag = IGZIP_DEFLATE;
    stream_->flush = NO_FLUSH;
    stream_->end_of_stream = 1;
    stream_->next_in = readable(input);
    stream_->avail_in = static_cast<std::uint32_t>(input.size());
    stream_->next_out = writable(output);
    stream_->avail_out = static_cast<std::uint32_t>(output.size());
    const int code = isal_deflate_stateless(stream_.get());
    if (code == STATELESS_OVERFLOW) return std::size_t{0};
    if (code != COMP_OK) return fail(ErrorKind::kIo, fmt::format("ISA-L cannot encode a block: error {}", code));
    return std::size_t{stream_->total_out};
  }

  std::uint32_t level_;
  std::vector<std::uint8_t> memory_;
  std::unique_ptr<isal_zstream> stream_;  ///< 80 KiB, too much for the stack of each call
};

class DeflateDecoder final : public Decoder {
 public:
  DeflateDecoder() : state_(new inflate_state) {}

  Status decode(Bytes in, MutableBytes out) override {
    if (in.size() > kLongestBlock || out.size() > kLongestBlock) {
      return fail(ErrorKind::kProtocol, "a deflate block is too long");
    }
    // Not isal_inflate_stateless(): that takes matches from any distance. This one refuses those beyond the history,
    // except for blocks with the fixed Huffman codes; from there it takes what lies within the output.
    isal_inflate_init(state_.get());
    state_->crc_flag = ISAL_DEFLATE;
    state_->hist_bits = kHistoryBits;
    state_->next_in = readable(in);
    state_->avail_in = static_cast<std::uint32_t>(in.size());
    state_->next_out = writable(out);
    state_->avail_out = static_cast<std::uint32_t>(out.size());
    const int code = isal_inflate(state_.get());
    if (code != ISAL_DECOMP_OK) {
      return fail(ErrorKind::kProtocol, fmt::format("a deflate block is damaged: ISA-L's error {}", code));
    }
    if (state_->block_state != ISAL_BLOCK_FINISH) {
      return fail(ErrorKind::kProtocol, "a deflate block is cut short or holds more than announced");
    }
    // Whole bytes that were read ahead are behind the end too; less than one is padding.
    if (state_->avail_in != 0 || state_->read_in_length >= 8) {
      return fail(ErrorKind::kProtocol, "a deflate block goes on behind its end");
    }
    if (state_->total_out != out.size()) {
      return fail(ErrorKind::kProtocol,
                  fmt::format("a deflate block holds {} bytes, not {} as announced", state_->total_out, out.size()));
    }
    return {};
  }

 private:
  std::unique_ptr<inflate_state> state_;  ///< 80 KiB, too much for the stack of each call
};

}  // namespace

Result<std::unique_ptr<Encoder>> make_deflate_encoder(int level) {
  return std::make_unique<DeflateEncoder>(level);
}

Result<std::unique_ptr<Decoder>> make_deflate_decoder() {
  return std::make_unique<DeflateDecoder>();
}

}  // namespace godwit
