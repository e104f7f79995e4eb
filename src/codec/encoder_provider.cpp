#include "codec/encoder_provider.h"

namespace godwit {

Result<std::unique_ptr<Encoder>> SoftwareEncoders::lend(const CodecChoice& choice, unsigned given_up) {
  if (given_up > 0) return std::unique_ptr<Encoder>();  // the same library would fail the same way
  return make_encoder(choice);
}

}  // namespace godwit
