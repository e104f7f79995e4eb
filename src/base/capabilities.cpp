#include "base/capabilities.h"

#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "base/small_files.h"

namespace godwit {

namespace {

// The sets have 64 bits; the kernel says EINVAL where it knows no further one.
constexpr unsigned kMostCapabilities = 64;

using CapabilityWords = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

int limit_sets(CapabilitySet kept) noexcept {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  CapabilityWords words{};
  if (::syscall(SYS_capget, &header, words.data()) != 0) return errno;
  for (std::size_t i = 0; i < words.size(); ++i) {
    const auto mask = static_cast<std::uint32_t>(kept.bits() >> (32 * i));
    words[i].permitted &= mask;
    words[i].effective &= mask;
    words[i].inheritable = 0;
  }
  return ::syscall(SYS_capset, &header, words.data()) == 0 ? 0 : errno;
}

}  // namespace

int limit_this_thread(CapabilitySet kept) noexcept {
  int first_error = 0;
  const auto note = [&](long returned) {
    if (returned != 0 && first_error == 0) first_error = errno;
  };
  note(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  // Before the sets: it takes CAP_SETPCAP. Without that it stays, and with no_new_privs it gives nobody anything.
  for (unsigned number = 0; number < kMostCapabilities; ++number) {
    if (kept.has(number)) continue;
    if (::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0) break;  // EPERM, or EINVAL behind the last
  }
  note(::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0));
  const int sets = limit_sets(kept);
  return first_error != 0 ? first_error : sets;
}

bool is_limited(std::string_view status, CapabilitySet kept) {
  const auto text = value_of_line(status, "CapPrm");
  if (!text || value_of_line(status, "NoNewPrivs").value_or("0") != "1") return false;
  std::uint64_t bits = 0;
  const auto [end, problem] = std::from_chars(text->data(), text->data() + text->size(), bits, 16);
  return problem == std::errc{} && end == text->data() + text->size() && kept.contains(CapabilitySet(bits));
}

}  // namespace godwit
