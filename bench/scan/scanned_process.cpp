#include "scanned_process.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <string>

namespace godwit::bench {
namespace {
constexpr std::uint64_t kPage = 4096;
constexpr int kProtection = PROT_READ | PROT_WRITE;
}  // namespace

ScannedProcess::ScannedProcess(Kind kind, std::uint64_t bytes)
    : state_(new (::mmap(nullptr, sizeof(State), kProtection, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) State()),
      pid_(::fork()) {
  if (pid_ == 0) serve(kind, bytes);
  while (state_->address == 0) ::usleep(100);
}

ScannedProcess::~ScannedProcess() {
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  ::munmap(state_, sizeof(State));
}

void ScannedProcess::write(std::uint64_t stride, std::uint64_t first_bytes) {
  state_->first_bytes = first_bytes;
  state_->stride = stride;
  while (state_->stride != 0) ::usleep(100);
}

std::uint64_t ScannedProcess::page_table_bytes() const {
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string word; status >> word;) {
    std::uint64_t kilobytes = 0;
    if (word == "VmPTE:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

void ScannedProcess::serve(Kind kind, std::uint64_t bytes) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  void* memory = MAP_FAILED;
  if (kind == Kind::kPrivate) {
    memory = ::mmap(nullptr, bytes, kProtection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    // One page at a time, so that a page written does not make 511 others present.
    if (memory != MAP_FAILED) ::madvise(memory, bytes, MADV_NOHUGEPAGE);
  } else {
    const int fd = ::memfd_create("ram", 0);
    if (::ftruncate(fd, static_cast<off_t>(bytes)) == 0) {
      memory = ::mmap(nullptr, bytes, kProtection, MAP_SHARED | MAP_NORESERVE, fd, 0);
    }
  }
  if (memory == MAP_FAILED) ::_exit(1);
  auto* const pages = static_cast<volatile char*>(memory);
  state_->address = reinterpret_cast<std::uint64_t>(memory);
  while (true) {
    while (state_->stride == 0) ::usleep(100);
    const std::uint64_t end = std::min<std::uint64_t>(state_->first_bytes, bytes);
    for (std::uint64_t at = 0; at < end; at += state_->stride * kPage) pages[at] = static_cast<char>(pages[at] + 1);
    state_->stride = 0;
  }
}

}  // namespace godwit::bench
