// zstd: one plain frame per block, without checksum, content size and dictionary.
//
// Frames without the magic number would save 4 bytes of some 100 KB, but only through the library's experimental
// interface; so they stay plain, and any zstd can read them.
#include <fmt/core.h>
#include <zstd.h>
#include <zstd_errors.h>

#include <array>
#include <cstring>

#include "codec/software_encoder.h"

namespace godwit {

namespace {

// 2^18 bytes are the longest block: a frame has no use for a larger window.
constexpr int kWindowLog = 18;
static_assert(std::size_t{1} << kWindowLog == kLongestBlock);

struct FreeContext {
  void operator()(ZSTD_CCtx* context) const noexcept { ZSTD_freeCCtx(context); }
  void operator()(ZSTD_DCtx* context) const noexcept { ZSTD_freeDCtx(context); }
};

class ZstdEncoder final : public SoftwareEncoder {
 public:
  explicit ZstdEncoder(std::unique_ptr<ZSTD_CCtx, FreeContext> context) : context_(std::move(context)) {}
  CodecId id() const noexcept override { return CodecId::kZstd; }

 private:
  Result<std::size_t> encode(Bytes input, MutableBytes output) override {
    const std::size_t size = ZSTD_compress2(context_.get(), output.data(), output.size(), input.data(), input.size());
    if (!ZSTD_isError(size)) return size;
    if (ZSTD_getErrorCode(size) == ZSTD_error_dstSize_tooSmall) return std::size_t{0};
    return fail(ErrorKind::kIo, fmt::format("zstd cannot encode a block: {}", ZSTD_getErrorName(size)));
  }

  std::unique_ptr<ZSTD_CCtx, FreeContext> context_;
};

class ZstdDecoder final : public Decoder {
 public:
  explicit ZstdDecoder(std::unique_ptr<ZSTD_DCtx, FreeContext> context) : context_(std::move(context)) {}

  Status decode(Bytes in, MutableBytes out) override {
    if (in.size() > kLongestBlock || out.size() > kLongestBlock) {
      return fail(ErrorKind::kProtocol, "a zstd block is too long");
    }
    // The library would also take frames of its early versions, frames to skip, and several in a row.
    if (!begins_with_magic(in) || ZSTD_findFrameCompressedSize(in.data(), in.size()) != in.size()) {
      return fail(ErrorKind::kProtocol, "a zstd block is not one zstd frame");
    }
    const std::size_t size = ZSTD_decompressDCtx(context_.get(), out.data(), out.size(), in.data(), in.size());
    if (ZSTD_isError(size)) {
      return fail(ErrorKind::kProtocol, fmt::format("a zstd block is damaged: {}", ZSTD_getErrorName(size)));
    }
    if (size != out.size()) {
      return fail(ErrorKind::kProtocol,
                  fmt::format("a zstd block holds {} bytes, not {} as announced", size, out.size()));
    }
    return {};
  }

 private:
  static bool begins_with_magic(Bytes in) noexcept {
    constexpr std::array<unsigned char, 4> kMagic = {0x28, 0xb5, 0x2f, 0xfd};
    return in.size() >= kMagic.size() && std::memcmp(in.data(), kMagic.data(), kMagic.size()) == 0;
  }

  std::unique_ptr<ZSTD_DCtx, FreeContext> context_;
};

}  // namespace

Result<std::unique_ptr<Encoder>> make_zstd_encoder(int level) {
  std::unique_ptr<ZSTD_CCtx, FreeContext> context(ZSTD_createCCtx());
  if (!context) return fail(ErrorKind::kIo, "no memory for a zstd encoder");
  const std::array<std::pair<ZSTD_cParameter, int>, 4> parameters = {{{ZSTD_c_compressionLevel, level},
                                                                      {ZSTD_c_contentSizeFlag, 0},
                                                                      {ZSTD_c_checksumFlag, 0},
                                                                      {ZSTD_c_dictIDFlag, 0}}};
  for (const auto& [parameter, value] : parameters) {
    const std::size_t set = ZSTD_CCtx_setParameter(context.get(), parameter, value);
    if (ZSTD_isError(set)) return fail(ErrorKind::kUnsupported, fmt::format("zstd: {}", ZSTD_getErrorName(set)));
  }
  return std::make_unique<ZstdEncoder>(std::move(context));
}

Result<std::unique_ptr<Decoder>> make_zstd_decoder() {
  std::unique_ptr<ZSTD_DCtx, FreeContext> context(ZSTD_createDCtx());
  if (!context) return fail(ErrorKind::kIo, "no memory for a zstd decoder");
  const std::size_t set = ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, kWindowLog);
  if (ZSTD_isError(set)) return fail(ErrorKind::kUnsupported, fmt::format("zstd: {}", ZSTD_getErrorName(set)));
  return std::make_unique<ZstdDecoder>(std::move(context));
}

}  // namespace godwit
