// Every decoder on bytes that nobody vouches for.
//
//   input   | codec, as the registry has them | pages - 1 | how | edits: where (2 bytes), XOR (1 byte) | bytes ...
//   how       bit 7: the bytes are content, to be encoded; else they are the block. Bits 0-2: how many edits are made
//             to the block before it is decoded.
//
// The libraries carry no coverage hooks, so the fuzzer cannot find its way into their formats: hence blocks that were
// good before the edits. Nor does a sanitizer see what they do: hence memory that ends where nobody may go.
//
// What must hold: an error of the protocol, or the output filled, whatever was there before; a block without edits
// comes back.
#include <sys/mman.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "codec/codec.h"

namespace {

using namespace godwit;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kLongest = 66 * kPage;  // more than any block may have
constexpr std::size_t kCapacity = kLongest + kPage;

void check(bool kept) {
  if (!kept) std::abort();
}

/// Bytes between two stretches that cannot be touched: the last one ends where the second stretch begins.
class Fenced {
 public:
  Fenced() {
    void* const all = ::mmap(nullptr, kCapacity + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    check(all != MAP_FAILED);
    begin_ = static_cast<std::byte*>(all) + kPage;
    check(::mprotect(begin_, kCapacity, PROT_READ | PROT_WRITE) == 0);
  }
  /// The last `size` bytes. They are `mark` now, and the page before them too.
  MutableBytes last(std::size_t size, std::byte mark) {
    std::byte* const first = begin_ + kCapacity - size;
    std::memset(first - kPage, std::to_integer<int>(mark), size + kPage);
    return {first, size};
  }
  /// Whether the page before the last bytes is what last() made it.
  static bool intact(MutableBytes bytes, std::byte mark) {
    return std::all_of(bytes.data() - kPage, bytes.data(), [mark](std::byte byte) { return byte == mark; });
  }

 private:
  std::byte* begin_;
};

/// The block that an encoder makes of the bytes, repeated until they fill `content`; empty if it would be sent raw.
std::vector<std::byte> encoded(CodecId id, Bytes bytes, std::vector<std::byte>& content) {
  for (std::size_t at = 0; at < content.size() && !bytes.empty(); at += bytes.size()) {
    std::memcpy(content.data() + at, bytes.data(), std::min(bytes.size(), content.size() - at));
  }
  auto encoder = make_encoder({.id = id, .level = 1});
  if (!encoder) return {};
  if (!*encoder) return content;
  std::vector<std::byte> block(content.size());
  const EncodeJob job{.ticket = 1, .input = content, .output = block};
  EncodeDone done;
  check((*encoder)->submit({&job, 1}).value_or(0) == 1 && (*encoder)->collect({&done, 1}, {}).value_or(0) == 1);
  block.resize(done.size);
  return block;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static Fenced input;
  static Fenced output;
  if (size < 3) return 0;
  // One more stands for a number that no codec has.
  const std::size_t number = data[0] % (codecs().size() + 1);
  const CodecId id = number < codecs().size() ? codecs()[number].id : CodecId{0xff};
  const auto decoder = make_decoder(id);
  if (!decoder) {
    check(decoder.error().kind == ErrorKind::kProtocol);
    return 0;
  }
  const std::size_t length = (data[1] % 64 + 1u) * kPage;
  const bool encode = (data[2] & 0x80) != 0;
  const Bytes behind = std::as_bytes(std::span(data, size)).subspan(3);
  const std::size_t edits = std::min<std::size_t>(data[2] & 7, behind.size() / 3);
  const Bytes rest = behind.subspan(3 * edits);
  std::vector<std::byte> content(length);
  std::vector<std::byte> block(rest.begin(), rest.end());
  if (encode) block = encoded(id, rest, content);
  if (block.empty() || block.size() > kLongest) return 0;
  for (std::size_t i = 0; i < edits; ++i) {
    const auto where =
        std::to_integer<std::size_t>(behind[3 * i]) << 8 | std::to_integer<std::size_t>(behind[3 * i + 1]);
    block[where % block.size()] ^= behind[3 * i + 2];
  }

  const MutableBytes in = input.last(block.size(), std::byte{0});
  std::ranges::copy(block, in.begin());
  std::array<std::vector<std::byte>, 2> outputs;
  std::size_t taken = 0;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::byte before = i == 0 ? std::byte{0x00} : std::byte{0xff};
    const MutableBytes out = output.last(length, before);
    const Status status = (*decoder)->decode(in, out);
    check(status || status.error().kind == ErrorKind::kProtocol);
    check(Fenced::intact(out, before));
    if (!status) continue;
    ++taken;
    outputs[i].assign(out.begin(), out.end());
  }
  check(taken == 0 || taken == outputs.size());
  check(outputs[0] == outputs[1]);
  if (encode && edits == 0) check(taken != 0 && outputs[0] == content);
  return 0;
}
