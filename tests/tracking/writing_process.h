// A process whose memory is tracked: it touches pages when it is told to.
#pragma once

#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <random>
#include <string>
#include <vector>

#include "tests/attach/forked_process.h"
#include "tests/tracking/fixed_read.h"

namespace godwit::testing {

enum class Kind { kMemfd, kTmpfs, kPrivate, kHuge };

inline std::string name_of(Kind kind) {
  constexpr const char* kNames[] = {"memfd", "tmpfs", "private", "hugetlb"};
  return kNames[static_cast<int>(kind)];
}

class WritingProcess {
 public:
  WritingProcess(Kind kind, std::uint64_t bytes) : process_([=, this] { serve(kind, bytes); }) {
    eventually([&] { return state_->ready != 0; });
  }

  bool ok() const { return state_->ready == 1; }
  pid_t pid() const { return process_.pid(); }
  std::uint64_t address() const { return state_->address; }
  void end() { process_.end(); }

  bool write(std::uint32_t first, std::uint32_t count = 1, std::uint32_t stride = 1) {
    return tell(Order::kWrite, first, count, stride);
  }
  bool read(std::uint32_t first, std::uint32_t count = 1) { return tell(Order::kRead, first, count); }
  /// The kernel writes the page, as in a read(2) into guest memory.
  bool write_by_kernel(std::uint32_t page) { return tell(Order::kWriteByKernel, page, 1); }
  /// Registers the page with io_uring, and reads into it from a pipe by what is registered. False where the kernel has
  /// no io_uring for us.
  bool register_page(std::uint32_t page) { return tell(Order::kRegister, page, 1) && state_->registered; }
  bool write_registered(std::uint32_t page) { return tell(Order::kWriteRegistered, page, 1); }
  bool discard(std::uint32_t first, std::uint32_t count = 1) { return tell(Order::kDiscard, first, count); }
  /// As QEMU does for a balloon: the pages are holes from then on. Huge pages as wholes.
  bool give_back(std::uint32_t first, std::uint32_t count = 1) { return tell(Order::kGiveBack, first, count); }
  /// Gives `count` pages back, one by one, each `stride` after the one before it, and writes each page behind one; no
  /// more than it may. Returns at once; given_back() says how many are holes.
  void begin_to_give_back(std::uint32_t first, std::uint32_t count, std::uint32_t stride) {
    state_->given_back = 0;
    state_->limit = 0;
    begin(Order::kGiveBackOneByOne, first, count, stride);
  }
  void may_give_back(std::uint32_t pages) { state_->limit = pages; }
  std::uint32_t given_back() const { return state_->given_back; }
  /// Until stop_wandering(): writes in its first `pages` pages, as fast as it can, here and there and ever further on,
  /// so that there are first writes all the time, and some that are the last. Goes no further than it may.
  void begin_to_wander(std::uint32_t pages, std::uint32_t seed) {
    state_->wanders = true;
    begin(Order::kWander, seed, pages, 1);
  }
  void may_wander_to(std::uint64_t page) { state_->limit = page; }
  bool stop_wandering() {
    state_->wanders = false;
    return eventually([&] { return state_->done == state_->told; });
  }

 private:
  enum class Order {
    kWrite,
    kRead,
    kWriteByKernel,
    kRegister,
    kWriteRegistered,
    kDiscard,
    kGiveBack,
    kGiveBackOneByOne,
    kWander
  };
  struct State {
    std::atomic<int> ready{0};
    std::atomic<std::uint64_t> address{0};
    std::atomic<unsigned> told{0}, done{0};
    std::atomic<bool> registered{false};
    std::atomic<bool> wanders{false};
    std::atomic<std::uint64_t> limit{0};
    std::atomic<std::uint32_t> given_back{0};
    Order order{};
    std::uint32_t first = 0, count = 0, stride = 1;
  };

  unsigned begin(Order order, std::uint32_t first, std::uint32_t count, std::uint32_t stride) {
    state_->order = order;
    state_->first = first;
    state_->count = count;
    state_->stride = stride;
    return ++state_->told;
  }
  bool tell(Order order, std::uint32_t first, std::uint32_t count, std::uint32_t stride = 1) {
    const unsigned number = begin(order, first, count, stride);
    return eventually([&] { return state_->done == number; });
  }

  static void* map(Kind kind, std::uint64_t bytes) {
    constexpr int kProtection = PROT_READ | PROT_WRITE;
    if (kind == Kind::kPrivate) {
      return ::mmap(nullptr, bytes, kProtection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    }
    int fd = -1;
    if (kind == Kind::kTmpfs) {
      fd = ::open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    } else {
      fd = ::memfd_create("ram", kind == Kind::kHuge ? MFD_HUGETLB : 0);
    }
    if (fd < 0 || ::ftruncate(fd, static_cast<off_t>(bytes)) != 0) return MAP_FAILED;
    return ::mmap(nullptr, bytes, kProtection, MAP_SHARED | (kind == Kind::kHuge ? 0 : MAP_NORESERVE), fd, 0);
  }

  void serve(Kind kind, std::uint64_t bytes) {
    void* memory = map(kind, bytes);
    if (memory == MAP_FAILED) {
      state_->ready = -1;
      return;
    }
    auto* const pages = static_cast<volatile char*>(memory);
    state_->address = reinterpret_cast<std::uint64_t>(memory);
    state_->ready = 1;
    FixedRead ring;
    const int zeros = ::open("/dev/zero", O_RDONLY | O_CLOEXEC);
    while (true) {
      while (state_->done == state_->told) ::usleep(50);
      const int gives_back = kind == Kind::kPrivate ? MADV_DONTNEED : MADV_REMOVE;
      if (state_->order == Order::kWander) wander(pages);
      if (state_->order == Order::kGiveBack) {
        // At once, so that page tables may go with it.
        ::madvise(const_cast<char*>(pages) + state_->first * 4096UL, state_->count * 4096UL, gives_back);
      }
      const bool page_by_page = state_->order != Order::kWander && state_->order != Order::kGiveBack;
      for (std::uint64_t i = 0; i < state_->count && page_by_page; ++i) {
        volatile char* at = pages + (state_->first + i * state_->stride) * 4096;
        if (state_->order == Order::kGiveBackOneByOne) {
          while (i >= state_->limit) ::usleep(20);
          ::madvise(const_cast<char*>(at), 4096, gives_back);
          ++state_->given_back;
          at[4096] = static_cast<char>(at[4096] + 1);
        }
        if (state_->order == Order::kWrite) *at = static_cast<char>(*at + 1);
        if (state_->order == Order::kRead) static_cast<void>(*at);
        if (state_->order == Order::kWriteByKernel && ::read(zeros, const_cast<char*>(at), 8) != 8) ::_exit(94);
        if (state_->order == Order::kRegister) state_->registered = ring.register_page(const_cast<char*>(at));
        if (state_->order == Order::kWriteRegistered && !ring.read_into(const_cast<char*>(at))) ::_exit(93);
        if (state_->order == Order::kDiscard) ::madvise(const_cast<char*>(at), 4096, MADV_DONTNEED);
      }
      ++state_->done;
    }
  }

  /// Odd pages are written once, from the first to the last but not in a row; even ones again and again.
  void wander(volatile char* pages) {
    std::minstd_rand random(state_->first + 1);
    const std::uint64_t count = state_->count;
    const auto write = [&](std::uint64_t page) {
      volatile char* const at = pages + page * 4096 + random() % 4096;
      *at = static_cast<char>(*at + 1);
    };
    for (std::uint64_t front = 0; state_->wanders;) {
      const bool goes_on = front < std::min<std::uint64_t>(state_->limit, count);
      const std::uint64_t once = front / 2048 * 2048 + front * 1237 % 2048;
      if (goes_on && once % 2 == 1 && once < count) write(once);
      for (int i = 0; i < 4; ++i) {
        const std::uint64_t page = random() % 4 == 0 ? random() % (front + 1) : front + random() % 1500;
        if (page % 2 == 0 && page < count) write(page);
      }
      if (goes_on) ++front;
      if (random() % 64 == 0) ::usleep(10);
    }
  }

  SharedWithChildren<State> state_;
  ForkedProcess process_;
};

}  // namespace godwit::testing
