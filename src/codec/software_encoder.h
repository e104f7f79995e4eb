// The contract of Encoder for a library that answers at once: one job under way, encoded in submit().
#pragma once

#include <optional>

#include "codec/codecs.h"

namespace godwit {

class SoftwareEncoder : public Encoder {
 public:
  std::size_t depth() const noexcept final { return 1; }
  Result<std::size_t> submit(std::span<const EncodeJob> jobs) final;
  Result<std::size_t> poll(std::span<EncodeDone> done) final;
  Result<std::size_t> collect(std::span<EncodeDone> done, std::stop_token stop) final;

 private:
  /// Encodes into `output` and gives the length, 0 if it does not fit. `output` is shorter than the input by a byte.
  virtual Result<std::size_t> encode(Bytes input, MutableBytes output) = 0;

  std::optional<EncodeDone> done_;
};

}  // namespace godwit
