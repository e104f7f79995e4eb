// What is left of a shared key in this process's memory when nobody uses it any more.
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <fstream>

#include "base/unique_fd.h"
#include "tests/tls/two_sides.h"

namespace godwit::testing::wiped_keys_test {
namespace {

// Mappings of sanitizers, which describe all memory and have none of it.
constexpr std::uint64_t kTooLarge = std::uint64_t{1} << 30U;
constexpr std::size_t kPiece = std::size_t{1} << 20U;

/// Something to look for, kept in another form: else it would be found here.
class Wanted {
 public:
  /// Its end, for malloc writes into the beginning of what is given back.
  explicit Wanted(Bytes key) {
    for (const std::byte byte : key.last(std::min<std::size_t>(key.size(), 16))) hidden_.push_back(byte ^ kMask);
  }
  bool is_in_memory() const {
    KeyBytes wanted;
    for (const std::byte hidden : hidden_) {
      const std::byte byte = hidden ^ kMask;
      wanted.add({&byte, 1});
    }
    const UniqueFd memory(::open("/proc/self/mem", O_RDONLY | O_CLOEXEC));
    std::ifstream maps("/proc/self/maps");
    std::vector<std::byte> piece(kPiece);
    for (std::string line; std::getline(maps, line);) {
      unsigned long long begin = 0, end = 0;
      char rights[5] = "";
      if (std::sscanf(line.c_str(), "%llx-%llx %4s", &begin, &end, rights) != 3) continue;
      if (std::strncmp(rights, "rw", 2) != 0 || end - begin > kTooLarge) continue;
      for (std::uint64_t at = begin; at < end; at += kPiece - wanted.size()) {
        const ssize_t got =
            ::pread(memory.get(), piece.data(), std::min<std::uint64_t>(kPiece, end - at), static_cast<off_t>(at));
        if (got <= 0) break;
        const auto looked_at = Bytes(piece).first(static_cast<std::size_t>(got));
        const bool found = is_in(looked_at, at, wanted);
        // It is memory, too, and is looked at like the rest.
        ::explicit_bzero(piece.data(), piece.size());
        if (found) return true;
      }
    }
    return false;
  }

 private:
  /// Elsewhere than where it is for the search. `at`: where those bytes are.
  static bool is_in(Bytes bytes, std::uint64_t at, const KeyBytes& wanted) {
    const auto own = reinterpret_cast<std::uintptr_t>(&wanted);
    while (const void* found = ::memmem(bytes.data(), bytes.size(), wanted.data(), wanted.size())) {
      const auto before = static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data());
      if (at + before < own || at + before >= own + sizeof(KeyBytes)) return true;
      bytes = bytes.subspan(before + 1);
      at += before + 1;
    }
    return false;
  }

  static constexpr std::byte kMask{0x5a};
  std::vector<std::byte> hidden_;
};

class WipedKeys : public TwoSides {
 protected:
  /// Both sides have the key of this line.
  void make_of(const KeyBytes& line) {
    auto client = parse_shared_key(line.text(), "the key"), server = parse_shared_key(line.text(), "the key");
    ASSERT_TRUE(client && server);
    make(std::move(*client), std::move(*server));
  }
};

TEST_F(WipedKeys, LeaveNothingInMemory) {
  auto line = new_shared_key_line("tests");
  ASSERT_TRUE(line);
  const Wanted text(line->bytes());
  auto shared = parse_shared_key(line->text(), "the key");
  ASSERT_TRUE(shared);
  const Wanted key(shared->key.bytes());
  ASSERT_TRUE(text.is_in_memory() && key.is_in_memory());
  shared->key.wipe();
  make_of(*line);
  line->wipe();
  // Nor is it needed any more, for connections of which more will come.
  EXPECT_FALSE(text.is_in_memory());
  EXPECT_FALSE(key.is_in_memory());
  shake_hands();
  EXPECT_TRUE(client_done_ && *client_done_ && server_done_ && *server_done_);
  EXPECT_FALSE(key.is_in_memory());
}

}  // namespace
}  // namespace godwit::testing::wiped_keys_test
