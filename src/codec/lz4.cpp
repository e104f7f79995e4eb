// lz4 blocks: no frame around them, because the length of either side travels in the chunk's header.
#include <lz4.h>

#include "codec/software_encoder.h"

namespace godwit {

namespace {

struct FreeStream {
  void operator()(LZ4_stream_t* stream) const noexcept { LZ4_freeStream(stream); }
};

const char* chars(Bytes bytes) noexcept {
  return reinterpret_cast<const char*>(bytes.data());
}
char* chars(MutableBytes bytes) noexcept {
  return reinterpret_cast<char*>(bytes.data());
}

class Lz4Encoder final : public SoftwareEncoder {
 public:
  Lz4Encoder(LZ4_stream_t* state, int acceleration) : state_(state), acceleration_(acceleration) {}
  CodecId id() const noexcept override { return CodecId::kLz4; }

 private:
  Result<std::size_t> encode(Bytes input, MutableBytes output) override {
    const int size =
        LZ4_compress_fast_extState(state_.get(), chars(input), chars(output), static_cast<int>(input.size()),
                                   static_cast<int>(output.size()), acceleration_);
    return static_cast<std::size_t>(size > 0 ? size : 0);
  }

  std::unique_ptr<LZ4_stream_t, FreeStream> state_;  ///< 16 KiB, too much for the stack of each call
  int acceleration_;
};

class Lz4Decoder final : public Decoder {
 public:
  Status decode(Bytes in, MutableBytes out) override {
    if (in.size() > kLongestBlock || out.size() > kLongestBlock) {
      return fail(ErrorKind::kProtocol, "an lz4 block is too long");
    }
    const int size =
        LZ4_decompress_safe(chars(in), chars(out), static_cast<int>(in.size()), static_cast<int>(out.size()));
    if (size < 0 || static_cast<std::size_t>(size) != out.size()) {
      return fail(ErrorKind::kProtocol, "an lz4 block is damaged or has another length than announced");
    }
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<Encoder>> make_lz4_encoder(int acceleration) {
  LZ4_stream_t* const state = LZ4_createStream();
  if (state == nullptr) return fail(ErrorKind::kIo, "no memory for an lz4 encoder");
  return std::make_unique<Lz4Encoder>(state, acceleration);
}

Result<std::unique_ptr<Decoder>> make_lz4_decoder() {
  return std::make_unique<Lz4Decoder>();
}

}  // namespace godwit
