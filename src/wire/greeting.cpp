// The greeting: who connects, as what, and that it belongs to the session. spec.md has its bytes.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/random.h"
#include "wire/control.h"
#include "wire/greeting_bytes.h"
#include "wire/little_endian.h"

namespace godwit::wire {
namespace {

constexpr std::array<std::byte, 8> kMagic = {std::byte{'G'}, std::byte{'O'}, std::byte{'D'}, std::byte{'W'},
                                             std::byte{'I'}, std::byte{'T'}, std::byte{0},   std::byte{'\n'}};
// How every TLS connection begins.
constexpr std::byte kTlsHandshake{22};
constexpr std::byte kTlsMajorVersion{3};
constexpr std::size_t kVersionAt = kMagicSize;
constexpr std::size_t kRoleAt = kVersionedSize;
constexpr std::size_t kReservedAt = 11;
constexpr std::size_t kLaneAt = 12;
constexpr std::size_t kReservedToo = 14;
constexpr std::size_t kSecretAt = 16;
static_assert(kGreetingSize == kSecretAt + sizeof(Secret));

std::string printable(Bytes bytes) {
  std::string text;
  for (const std::byte b : bytes) {
    const auto c = std::to_integer<unsigned char>(b);
    text += c >= 0x20 && c < 0x7f ? fmt::format("{:c}", c) : fmt::format("\\x{:02x}", c);
  }
  return text;
}

Result<Role> role_of(std::byte number) {
  switch (static_cast<Role>(number)) {
    case Role::kControl:
    case Role::kLane:
    case Role::kLinkTest:
      return static_cast<Role>(number);
  }
  return fail(ErrorKind::kProtocol, fmt::format("the greeting has an unknown role, {}", std::to_integer<int>(number)));
}

Status receive_part(Channel& channel, MutableBytes bytes, const Deadline& until) {
  const auto got = channel.read(bytes, bytes.size(), until);
  if (got) return {};
  if (got.error().kind != ErrorKind::kTimedOut) return fail(got.error());
  return fail(ErrorKind::kTimedOut,
              fmt::format("it did not greet within {:.3g} s", std::chrono::duration<double>(until.allowed()).count()));
}

}  // namespace

Status send_greeting(Channel& channel, const Greeting& greeting) {
  std::array<std::byte, kGreetingSize> bytes{};
  std::copy(kMagic.begin(), kMagic.end(), bytes.begin());
  put(bytes.data() + kVersionAt, greeting.version);
  bytes[kRoleAt] = static_cast<std::byte>(greeting.role);
  put(bytes.data() + kLaneAt, greeting.lane);
  std::copy(greeting.secret.begin(), greeting.secret.end(), bytes.begin() + kSecretAt);
  return send_bytes(channel, bytes);
}

Status check_greeting(Bytes so_far) {
  if (so_far.size() < kMagicSize) return {};
  if (so_far[0] == kTlsHandshake && so_far[1] == kTlsMajorVersion) {
    return fail(
        ErrorKind::kProtocol,
        "the peer speaks TLS, and this side does not: start both sides with --tls-dir or --tls-psk, or both with "
        "--insecure-plain");
  }
  if (!std::equal(kMagic.begin(), kMagic.end(), so_far.begin())) {
    return fail(ErrorKind::kProtocol,
                fmt::format("this is not a Godwit peer: it began with '{}'", printable(so_far.first(kMagicSize))));
  }
  if (so_far.size() < kVersionedSize) return {};
  const auto version = get<std::uint16_t>(so_far.data() + kVersionAt);
  if (version == kVersion) return {};
  return fail(ErrorKind::kProtocol,
              fmt::format("the peer speaks version {} of Godwit's protocol, this side version {}", version, kVersion));
}

Result<Greeting> parse_greeting(Bytes bytes) {
  TRY(check_greeting(bytes));
  Greeting greeting;
  greeting.role = TRY(role_of(bytes[kRoleAt]));
  greeting.lane = get<std::uint16_t>(bytes.data() + kLaneAt);
  const auto reserved = get<std::uint16_t>(bytes.data() + kReservedToo);
  if (bytes[kReservedAt] != std::byte{0} || reserved != 0) {
    return fail(ErrorKind::kProtocol, "the greeting's reserved bytes are not zero");
  }
  if (greeting.role != Role::kLane && greeting.lane != 0) {
    return fail(ErrorKind::kProtocol, fmt::format("a connection other than a lane greeted as lane {}", greeting.lane));
  }
  std::copy_n(bytes.begin() + kSecretAt, sizeof(Secret), greeting.secret.begin());
  return greeting;
}

Result<Greeting> receive_greeting(Channel& channel, const Deadline& until) {
  std::array<std::byte, kGreetingSize> bytes{};
  const MutableBytes all(bytes);
  // Piece by piece: a peer of another kind may send less than a greeting and wait for an answer.
  TRY(receive_part(channel, all.first(kMagicSize), until));
  TRY(check_greeting(all.first(kMagicSize)));
  TRY(receive_part(channel, all.subspan(kMagicSize, kVersionedSize - kMagicSize), until));
  TRY(check_greeting(all.first(kVersionedSize)));
  TRY(receive_part(channel, all.subspan(kVersionedSize), until));
  return parse_greeting(all);
}

bool same_secret(const Secret& a, const Secret& b) noexcept {
  // Every byte is looked at, whatever the others were; volatile keeps the compiler from leaving early.
  volatile unsigned different = 0;
  for (std::size_t i = 0; i < a.size(); ++i) different = different | std::to_integer<unsigned>(a[i] ^ b[i]);
  return different == 0;
}

Result<Secret> random_secret() {
  Secret secret;
  TRY(fill_with_random(secret));
  return secret;
}

}  // namespace godwit::wire
