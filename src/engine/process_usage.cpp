#include "engine/process_usage.h"

#include <cstdlib>
#include <string>

#include "base/small_files.h"

namespace godwit {

std::uint64_t anonymous_memory() noexcept {
  const auto kib = value_of_line(read_small_file("/proc/self/status").value_or(""), "RssAnon");
  return kib ? std::strtoull(kib->c_str(), nullptr, 10) * 1024 : 0;
}

}  // namespace godwit
