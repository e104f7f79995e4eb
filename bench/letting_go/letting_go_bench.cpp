// How long the death of an engine holds its guest up: the longest page fault, as KVM takes it, of a process whose
// memory was tracked, from the engine's SIGKILL on, when the kernel undoes all at once and when a releaser does it
// piece by piece.
//
//   bench_letting_go [GiB [rounds]]
//
// Both in turn, in each round; a third contender, no death at all, shows what this machine does to a writer by itself.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/units.h"
#include "tracking/page_scanner.h"
#include "tracking/write_protection.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

namespace {

using namespace godwit;
using SteadyTime = std::chrono::steady_clock;

struct Shared {
  std::atomic<bool> up{false};
  std::atomic<bool> watch{false};
  std::atomic<std::int64_t> longest_ns{0};
  std::atomic<std::uint64_t> written{0};  ///< pages
  std::atomic<std::uint64_t> address{0};
  std::atomic<int> engine{0};  ///< 1: tracks; -1: could not
};

enum class Death { kNone, kAtOnce, kPieceByPiece };

/// Forever has one page after the other, each of which is armed, made writable, and notes the longest time that took
/// while it is watched. Not by writing: plain page faults get by with the lock of the mapping, but KVM's, on behalf of
/// a vCPU, take the address space's, as this call does.
[[noreturn]] void write_on(Shared& shared, std::uint64_t bytes) {
  void* const memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (memory == MAP_FAILED) ::_exit(1);
  auto* const pages = static_cast<char*>(memory);
  shared.address = reinterpret_cast<std::uint64_t>(memory);
  shared.up = true;
  for (std::uint64_t at = 0;; at = (at + 4096) % bytes) {
    const auto before = SteadyTime::now();
    ::madvise(pages + at, 4096, MADV_POPULATE_WRITE);
    const auto gap = (SteadyTime::now() - before).count();
    if (shared.watch && gap > shared.longest_ns) shared.longest_ns = gap;
    ++shared.written;
    if (at % (4096 * 16) == 0) ::usleep(100);
  }
}

[[noreturn]] void track(Shared& shared, pid_t guest, std::uint64_t bytes, bool with_releaser) {
  auto releaser = Releaser::start();
  const auto process = RemoteProcess::open(guest);
  if (!releaser || !process) ::_exit(1);
  auto scanner = PageScanner::open(*process);
  auto protection = WriteProtection::create(*process, nullptr);
  const bool covered = protection && protection->cover(shared.address, bytes);
  if (covered && with_releaser) (void)(*releaser)->hold(protection->descriptor(), protection->covered());
  shared.engine = covered && scanner && scanner->arm(shared.address, bytes) ? 1 : -1;
  while (true) ::pause();
}

double milliseconds_held_up(Shared& shared, pid_t guest, std::uint64_t bytes, Death death) {
  shared.engine = 0;
  const pid_t engine = ::fork();
  if (engine == 0) track(shared, guest, bytes, death == Death::kPieceByPiece);
  while (shared.engine == 0) ::usleep(1000);
  if (shared.engine < 0) {
    std::fprintf(stderr, "this process's memory cannot be tracked\n");
    std::exit(1);
  }
  shared.longest_ns = 0;
  shared.watch = true;
  if (death != Death::kNone) {
    ::kill(engine, SIGKILL);
    ::waitpid(engine, nullptr, 0);  // its descriptors are closed by then
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  while (somebody_releases()) ::usleep(10'000);
  // A gap counts when it is over.
  const std::uint64_t then = shared.written;
  while (shared.written < then + 1000) ::usleep(1000);
  shared.watch = false;
  if (death == Death::kNone) {
    ::kill(engine, SIGKILL);
    ::waitpid(engine, nullptr, 0);
  }
  // What is left of it must not reach into the next turn.
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  while (somebody_releases()) ::usleep(10'000);
  return static_cast<double>(shared.longest_ns) / 1e6;
}

void show(const char* what, std::vector<double>& times) {
  std::sort(times.begin(), times.end());
  std::printf("%-28s median %8.2f ms, least %8.2f, most %8.2f\n", what, times[times.size() / 2], times.front(),
              times.back());
}

}  // namespace

int main(int argc, char** argv) {
  const std::uint64_t bytes = (argc > 1 ? std::strtoull(argv[1], nullptr, 10) : 2) * kGiB;
  const int rounds = argc > 2 ? std::atoi(argv[2]) : 5;
  auto* const shared =
      new (::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) Shared();
  const pid_t guest = ::fork();
  if (guest == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    ::setpriority(PRIO_PROCESS, 0, -20);  // the lock is to be measured, not the neighbours
    write_on(*shared, bytes);
  }
  while (!shared->up) ::usleep(1000);
  std::vector<double> none, at_once, in_pieces;
  for (int i = 0; i < rounds; ++i) {
    none.push_back(milliseconds_held_up(*shared, guest, bytes, Death::kNone));
    at_once.push_back(milliseconds_held_up(*shared, guest, bytes, Death::kAtOnce));
    in_pieces.push_back(milliseconds_held_up(*shared, guest, bytes, Death::kPieceByPiece));
  }
  ::kill(guest, SIGKILL);
  ::waitpid(guest, nullptr, 0);
  std::printf("longest page fault as KVM takes it, %llu GiB, %d rounds\n",
              static_cast<unsigned long long>(bytes / kGiB), rounds);
  show("no death", none);
  show("death, undone at once", at_once);
  show("death, piece by piece", in_pieces);
  return 0;
}
