// Every decoder on bytes that nobody vouches for.
//
//   input   | codec number | pages - 1 | the block ...
//
// What must hold: an error of the protocol, or the output filled; the sanitizers see to the bounds.
#include <cstdint>
#include <cstdlib>
#include <vector>

#include "codec/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace godwit;
  constexpr std::size_t kPage = 4096;
  if (size < 2) return 0;
  const auto decoder = make_decoder(static_cast<CodecId>(data[0] % 4));
  if (!decoder) {
    if (decoder.error().kind != ErrorKind::kProtocol) std::abort();
    return 0;
  }
  // No room to spare on either side, so that a byte too far is seen.
  const Bytes rest = std::as_bytes(std::span(data, size)).subspan(2);
  const std::vector<std::byte> block(rest.begin(), rest.end());
  std::vector<std::byte> out((data[1] % 64 + 1u) * kPage);
  const Status status = (*decoder)->decode(block, out);
  if (!status && status.error().kind != ErrorKind::kProtocol) std::abort();
  return 0;
}
