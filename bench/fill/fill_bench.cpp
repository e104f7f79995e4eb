// What it costs to fill fresh shared memory at the destination: holes of the file directly, or by the mapping of the
// process that is to pay for them (src/memory/paying_process.h). CPU time of one thread, per GiB, in turn.
//
//   bench_fill [MiB [rounds]]
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <optional>
#include <vector>

#include "base/units.h"
#include "memory/block_memory.h"

namespace {

using namespace godwit;

double cpu_seconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

[[noreturn]] void give_up(const char* what) {
  std::perror(what);
  std::exit(1);
}

/// Seconds per GiB; checks what it has done.
double fill(std::uint64_t bytes, bool other_pays) {
  UniqueFd file(::memfd_create("ram", MFD_CLOEXEC));
  if (!file || ::ftruncate(file.get(), static_cast<off_t>(bytes)) != 0) give_up("memfd");
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (memory == MAP_FAILED) give_up("mmap");
  const pid_t payer = ::fork();
  if (payer == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (true) ::pause();
  }
  std::optional<PayingProcess> paying;
  if (other_pays) paying = PayingProcess{payer, reinterpret_cast<std::uint64_t>(memory)};
  auto block = open_file_block(UniqueFd(::dup(file.get())), 0, bytes, kPageSize, paying);
  if (!block) give_up("open_file_block");
  const std::vector<std::byte> chunk(kChunkSize, std::byte{7});
  const double begin = cpu_seconds();
  for (std::uint64_t at = 0; at < bytes; at += kChunkSize) {
    if (!(*block)->fill(at, kAllPages, chunk)) give_up("fill");
  }
  const double took = cpu_seconds() - begin;
  const auto* const seen = static_cast<const std::byte*>(memory);
  for (std::uint64_t at = 0; at < bytes; at += kPageSize) {
    if (seen[at] != std::byte{7} || seen[at + kPageSize - 1] != std::byte{7}) give_up("not filled");
  }
  ::kill(payer, SIGKILL);
  ::waitpid(payer, nullptr, 0);
  ::munmap(memory, bytes);
  return took * static_cast<double>(kGiB) / static_cast<double>(bytes);
}

void show(const char* what, std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  std::printf("%-28s median %.2f s per GiB, least %.2f, most %.2f\n", what, times[times.size() / 2], times.front(),
              times.back());
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t bytes = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 512) * kMiB;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  std::vector<double> directly, by_payer;
  for (int i = 0; i < rounds; ++i) {
    directly.push_back(fill(bytes, false));
    by_payer.push_back(fill(bytes, true));
  }
  show("holes of the file, directly", directly);
  show("by the payer's mapping", by_payer);
  return 0;
}
