#include "vmm/qemu/global_state.h"

#include <string_view>

namespace godwit::qemu {
namespace {

// Behind the section's number (4 bytes): the length of its name, and the name. Then instance, version and the size of
// the state, 4 bytes each, and 100 bytes that begin with the state's name and a NUL.
constexpr std::string_view kSectionName("\x0bglobalstate", 12);
constexpr std::size_t kNumbers = 12;
constexpr std::size_t kLongestState = 100;
constexpr std::size_t kWhole = kSectionName.size() + kNumbers + kLongestState;
// The section lies within the first few KiB; a device's megabytes are not searched for it.
constexpr std::size_t kSearched = std::size_t{1} << 20;

}  // namespace

void GlobalState::feed(Bytes bytes) {
  if (run_state_ || waiting_.size() >= kSearched) return;
  waiting_ += text_of(bytes.first(std::min(bytes.size(), kSearched)));
  const auto at = waiting_.find(kSectionName);
  if (at == std::string::npos || waiting_.size() - at < kWhole) return;
  const std::string_view state = std::string_view(waiting_).substr(at + kSectionName.size() + kNumbers, kLongestState);
  run_state_ = std::string(state.substr(0, state.find('\0')));
  waiting_.clear();
}

}  // namespace godwit::qemu
