// What a stranger says first, as the greeter hears it: piece by piece, each as long as the input likes.
//
//   input   | how | lanes | edits: count, then where (2 bytes) and XOR each | cut (2 bytes) | 8 lengths | bytes ...
//   how       0: the bytes, as they are       1: a genuine greeting, then the bytes
//             2: and a header of Hello, whose body the bytes are      3: a genuine greeting and Hello, then the bytes
//             bit 2: of a lane
//
// What must hold: the same answer as when all comes at once; not a byte is taken of what lies behind the opening;
// nobody is given more room than a Hello may have; and who is not refused is a lane, or a source whose Hello survives
// being encoded again.
#include "wire/opening.h"

#include <array>
#include <optional>

#include "fuzz/bytes_channel.h"
#include "fuzz/input.h"
#include "wire/control.h"
#include "wire/control_header.h"
#include "wire/greeting_bytes.h"
#include "wire/limits.h"
#include "wire/message_types.h"

namespace {

using namespace godwit;

/// Keeps what is written to it.
class Kept final : public Channel {
 public:
  Status write(std::span<const iovec> parts, const Deadline&) override {
    for (const iovec& part : parts) {
      const auto* const begin = static_cast<const std::byte*>(part.iov_base);
      bytes.insert(bytes.end(), begin, begin + part.iov_len);
    }
    return {};
  }
  Result<std::size_t> read(MutableBytes, std::size_t, const Deadline&) override { return std::size_t{0}; }
  Status shut_down() override { return {}; }
  void abort() noexcept override {}
  Link& link() noexcept override { return nobody_.link(); }

  std::vector<std::byte> bytes;

 private:
  BytesChannel nobody_{{}};
};

std::vector<std::byte> greeting_bytes(wire::Role role, std::uint16_t lane) {
  Kept kept;
  wire::Greeting greeting{.role = role, .lane = lane};
  greeting.secret.fill(std::byte{0x5a});
  check(wire::send_greeting(kept, greeting).has_value());
  return std::move(kept.bytes);
}

std::vector<std::byte> hello_bytes(std::uint16_t lanes) {
  wire::Hello hello{.lanes = lanes, .program = "a fuzzer", .open_lanes = lanes};
  hello.fingerprint.machine = "pc";
  hello.fingerprint.cpu_features = {{"0", "0x1"}};
  hello.fingerprint.blocks = {{"pc.ram", std::uint64_t{1} << 20, 4096}};
  Kept kept;
  check(wire::ControlConnection(kept).send(hello).has_value());
  return std::move(kept.bytes);
}

void append(std::vector<std::byte>& to, Bytes bytes) {
  to.insert(to.end(), bytes.begin(), bytes.end());
}

std::vector<std::byte> said_by(Input& input, std::array<std::uint8_t, 8>& lengths) {
  const unsigned how = input.byte();
  const auto lanes = static_cast<std::uint16_t>(input.byte());
  const unsigned kind = how & 3;
  const bool lane = (how & 4) != 0;
  std::vector<std::byte> said;
  if (kind != 0)
    said = greeting_bytes(lane ? wire::Role::kLane : wire::Role::kControl, lane ? lanes : std::uint16_t{0});
  if (kind == 3 && !lane) append(said, hello_bytes(static_cast<std::uint16_t>(1 + lanes % wire::kMaxLanes)));
  (void)edit(said, input);
  // 0: nothing is cut off.
  if (const std::size_t cut = input.two_bytes(); cut != 0 && !said.empty())
    said.resize(said.size() - cut % said.size());
  for (std::uint8_t& length : lengths) length = input.byte();
  const Bytes rest = input.rest();
  if (kind == 2) append(said, wire::encode_header(static_cast<std::uint16_t>(wire::MessageType::kHello), rest.size()));
  append(said, rest);
  return said;
}

struct Heard {
  std::optional<Error> refused;
  std::size_t taken = 0;  ///< bytes
  bool from_godwit = false;
  bool complete = false;
  std::optional<wire::Greeting> greeting;
  wire::Hello hello;
};

/// Pieces of these lengths, again and again; 0: as much as fits.
Heard hear(Bytes said, std::span<const std::uint8_t> lengths) {
  Heard heard;
  wire::Opening opening;
  std::size_t pieces = 0;
  while (heard.taken < said.size()) {
    const MutableBytes room = opening.room();
    check(room.size() <= wire::kMaxHelloBody);
    check(room.empty() == opening.complete());
    if (room.empty()) break;
    const std::size_t length = lengths.empty() ? 0 : lengths[pieces++ % lengths.size()];
    const Bytes rest = said.subspan(heard.taken);
    const std::size_t size = std::min({length == 0 ? room.size() : length, rest.size(), room.size()});
    std::copy_n(rest.begin(), size, room.begin());
    heard.taken += size;
    if (const Status advanced = opening.advance(size); !advanced) {
      heard.refused = advanced.error();
      break;
    }
  }
  heard.from_godwit = opening.from_godwit();
  heard.complete = opening.complete();
  heard.greeting = opening.greeting();
  if (heard.complete && heard.greeting->role == wire::Role::kControl) heard.hello = opening.take_hello();
  return heard;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  std::array<std::uint8_t, 8> lengths{};
  const std::vector<std::byte> said = said_by(input, lengths);
  const Heard whole = hear(said, {});
  const Heard pieces = hear(said, lengths);

  check(whole.complete == pieces.complete && whole.from_godwit == pieces.from_godwit);
  check(whole.greeting.has_value() == pieces.greeting.has_value());
  check(whole.refused.has_value() == pieces.refused.has_value());
  check(whole.taken == pieces.taken);
  check(!(whole.complete && whole.refused));
  if (whole.refused) {
    check(whole.refused->kind == ErrorKind::kProtocol && !whole.refused->message.empty());
    check(whole.refused->message == pieces.refused->message);
  }
  if (whole.greeting) {
    check(whole.from_godwit && whole.greeting->version == wire::kVersion);
    check(whole.greeting->role == wire::Role::kLane || whole.greeting->lane == 0);
    check(whole.greeting->lane == pieces.greeting->lane && whole.greeting->role == pieces.greeting->role);
    check(wire::same_secret(whole.greeting->secret, pieces.greeting->secret));
  }
  if (!whole.complete) return 0;
  check(whole.greeting.has_value());
  if (whole.greeting->role == wire::Role::kLane) {
    check(whole.taken == wire::kGreetingSize);
    return 0;
  }
  check(whole.hello == pieces.hello);
  const auto encoded = wire::encode(whole.hello);
  const auto again = wire::decode(encoded.type, encoded.body);
  check(again.has_value() && std::get<wire::Hello>(*again) == whole.hello);
  return 0;
}
