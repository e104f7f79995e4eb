#include "vmm/qemu/global_state.h"

#include <algorithm>
#include <cstring>
#include <string_view>

namespace godwit::qemu {
namespace {

//   type 4 | number (4 bytes) | length of the name, name | instance, version, size of the state (4 bytes each)
//   | 100 bytes that begin with the state's name and a NUL | footer 0x7e | the same number
constexpr char kFullSection = 4;
constexpr char kFooterMark = 0x7e;
constexpr std::size_t kNumber = 4;
constexpr std::size_t kBefore = 1 + kNumber;
constexpr std::string_view kSectionName("\x0bglobalstate", 12);
constexpr std::size_t kNumbers = 12;
constexpr std::size_t kLongestState = 100;
constexpr std::size_t kBehindName = kNumbers + kLongestState + 1 + kNumber;

/// With the guest paused. std::string's own takes 100 ms for 16 MiB of a picture in the colour that the name begins
/// with, this 3.
std::size_t find_name(const std::string& text, std::size_t from) {
  const void* found = ::memmem(text.data() + from, text.size() - from, kSectionName.data(), kSectionName.size());
  return found == nullptr ? std::string::npos : static_cast<std::size_t>(static_cast<const char*>(found) - text.data());
}

}  // namespace

void GlobalState::feed(Bytes bytes) {
  waiting_ += text_of(bytes);
  std::size_t at = find_name(waiting_, 0);
  while (at != std::string::npos && waiting_.size() - at >= kSectionName.size() + kBehindName) {
    if (at >= kBefore) look(std::string_view(waiting_).substr(at - kBefore));
    at = find_name(waiting_, at + 1);
  }
  // What may be the beginning of one is looked at again with what comes next.
  const std::size_t end = at == std::string::npos ? waiting_.size() : at;
  const std::size_t kept = at == std::string::npos ? kBefore + kSectionName.size() - 1 : kBefore;
  waiting_.erase(0, end - std::min(end, kept));
}

void GlobalState::look(std::string_view section) {
  const auto number = section.substr(1, kNumber);
  const auto state = section.substr(kBefore + kSectionName.size() + kNumbers, kLongestState);
  const auto footer = section.substr(kBefore + kSectionName.size() + kNumbers + kLongestState, 1 + kNumber);
  if (section[0] != kFullSection || footer[0] != kFooterMark || footer.substr(1) != number) return;
  std::string name(state.substr(0, state.find('\0')));
  if (contradicts_itself_ || (run_state_ && *run_state_ != name)) {
    contradicts_itself_ = true;
    run_state_.reset();
  } else {
    run_state_ = std::move(name);
  }
}

}  // namespace godwit::qemu
