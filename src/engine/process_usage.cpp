#include "engine/process_usage.h"

#include <sys/resource.h>
#include <time.h>

#include <cstdlib>
#include <string>

#include "base/small_files.h"

namespace godwit {

Duration cpu_time() noexcept {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto of = [](const timeval& t) {
    return std::chrono::seconds(t.tv_sec) + std::chrono::microseconds(t.tv_usec);
  };
  return of(usage.ru_utime) + of(usage.ru_stime);
}

Duration thread_cpu_time() noexcept {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return std::chrono::seconds(time.tv_sec) + std::chrono::nanoseconds(time.tv_nsec);
}

std::uint64_t anonymous_memory() noexcept {
  const auto kib = value_of_line(read_small_file("/proc/self/status").value_or(""), "RssAnon");
  return kib ? std::strtoull(kib->c_str(), nullptr, 10) * 1024 : 0;
}

}  // namespace godwit
