#include "base/migration_id.h"

#include <pthread.h>

#include <algorithm>
#include <array>

#include "base/random.h"

namespace godwit {

namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";
constexpr std::size_t kShown = 4;        // of an id, in a thread's name: enough for those of one host
constexpr std::size_t kThreadName = 15;  // TASK_COMM_LEN, less its closing zero

}  // namespace

Result<std::string> random_migration_id() {
  std::array<std::byte, 6> bytes{};
  TRY(fill_with_random(bytes));
  std::string id;
  for (const std::byte byte : bytes) {
    id += kHexDigits[std::to_integer<unsigned>(byte) >> 4U];
    id += kHexDigits[std::to_integer<unsigned>(byte) & 0xfU];
  }
  return id;
}

bool is_migration_id(std::string_view text) noexcept {
  return !text.empty() && text.size() <= kMaxMigrationId &&
         text.find_first_not_of(kHexDigits) == std::string_view::npos;
}

void name_thread(std::string_view migration_id, std::string_view what) noexcept {
  std::array<char, kThreadName + 1> name{};
  std::size_t end = 0;
  const auto append = [&](std::string_view text) {
    const std::size_t count = std::min(text.size(), kThreadName - end);
    std::copy_n(text.begin(), count, name.begin() + static_cast<std::ptrdiff_t>(end));
    end += count;
  };
  append("gw-");
  if (!migration_id.empty()) {
    append(migration_id.substr(0, kShown));
    append("-");
  }
  append(what);
  ::pthread_setname_np(::pthread_self(), name.data());
}

}  // namespace godwit
