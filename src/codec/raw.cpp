// Raw: the block is the pages themselves.
#include <cstring>

#include "codec/codecs.h"

namespace godwit {

namespace {

class RawDecoder final : public Decoder {
 public:
  Status decode(Bytes in, MutableBytes out) override {
    if (in.size() != out.size()) {
      return fail(ErrorKind::kProtocol, "a raw block has another length than announced");
    }
    if (!in.empty()) std::memcpy(out.data(), in.data(), in.size());
    return {};
  }
};

}  // namespace

Result<std::unique_ptr<Decoder>> make_raw_decoder() {
  return std::make_unique<RawDecoder>();
}

}  // namespace godwit
