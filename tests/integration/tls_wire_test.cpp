// What goes over the wire in a whole move, looked at by somebody in between.
#include <cstring>
#include <random>

#include "tests/integration/scene.h"
#include "tests/support/relay.h"
#include "tests/support/temp_key.h"

namespace godwit::testing {
namespace {

constexpr std::uint64_t kLookedAt = 96 * kMiB;
constexpr std::size_t kWindow = 48;
constexpr std::size_t kPages = 40;

/// Parts of pages of the guest, each with many different bytes.
std::vector<std::string> parts_of_pages(TestQemu& qemu) {
  std::vector<std::string> parts;
  std::vector<std::byte> page(4096);
  std::mt19937_64 random(1);
  for (int tries = 0; tries < 20'000 && parts.size() < kPages; ++tries) {
    const std::uint64_t at = random() % (kLookedAt / 4096) * 4096;
    if (!qemu.read_physical(at, page.data(), page.size())) continue;
    const std::string part(reinterpret_cast<const char*>(page.data()) + 1000, kWindow);
    if (std::set<char>(part.begin(), part.end()).size() > 24) parts.push_back(part);
  }
  return parts;
}

std::size_t found_in(const std::string& wire, const std::vector<std::string>& parts) {
  return static_cast<std::size_t>(std::ranges::count_if(parts, [&](const std::string& part) {
    return ::memmem(wire.data(), wire.size(), part.data(), part.size()) != nullptr;
  }));
}

struct Seen {
  std::size_t pages = 0, of_pages = 0;
  bool devices = false, hello = false;
  std::string security;
};

/// A move past somebody who keeps all of it. Without compression and with device state as QEMU writes it: what could be
/// seen would be seen.
Result<Seen> look_at_a_move(const std::vector<std::string>& trust) {
  const auto scene = TRY(Scene::make(quiet_vm()));
  GodwitOptions receive;
  receive.arguments = trust;
  TRY(scene->receive(receive));
  Relay relay(TRY(parse_address(scene->address())), UINT_MAX, true);
  GodwitOptions send;
  send.arguments = trust;
  send.arguments.insert(send.arguments.end(), {"--codec", "raw", "--delta-memory", "0", "--devices", "stream"});
  TRY(scene->send_to(relay.address(), send));
  TRY(scene->expect_moved());
  const auto parts = parts_of_pages(scene->source());
  const std::string wire = relay.recorded();
  const auto report = TRY(scene->sender().report());
  return Seen{.pages = found_in(wire, parts),
              .of_pages = parts.size(),
              .devices = wire.find("cpu_common") != std::string::npos,
              .hello = wire.find("\"program\"") != std::string::npos,
              .security = report.at("security").is_null() ? "" : report.at("security").get<std::string>()};
}

TEST(Wire, HoldsThePagesAndTheDevicesOfAGuestThatIsSentInTheClear) {
  ASSIGN_OR_SKIP(seen, look_at_a_move({"--insecure-plain"}));
  ASSERT_EQ(seen.of_pages, kPages);
  EXPECT_GE(seen.pages, kPages / 2) << "else this test does not see what it looks for";
  EXPECT_TRUE(seen.devices);
  EXPECT_TRUE(seen.hello);
  EXPECT_EQ(seen.security, "");
}

TEST(Wire, HoldsNothingOfAGuestThatIsSentWithTls) {
  ASSIGN_OR_FAIL(folder, TempFolder::make("/tmp"));
  ASSIGN_OR_SKIP(seen, look_at_a_move({"--tls-psk", key_file_in(folder.path())}));
  ASSERT_EQ(seen.of_pages, kPages);
  EXPECT_EQ(seen.pages, 0U);
  EXPECT_FALSE(seen.devices);
  EXPECT_FALSE(seen.hello);
  EXPECT_TRUE(says(seen.security, "TLS 1.3")) << seen.security;
}

}  // namespace
}  // namespace godwit::testing
