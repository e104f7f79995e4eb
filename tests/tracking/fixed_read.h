// io_uring with one registered page, by the bare system calls: the kernel pins the page when it is registered, and
// writes it by what it has pinned.
#pragma once

#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace godwit::testing {

class FixedRead {
 public:
  bool register_page(char* page) {
    io_uring_params parameters{};
    ring_ = static_cast<int>(::syscall(SYS_io_uring_setup, 4, &parameters));
    if (ring_ < 0 || ::pipe(pipe_) != 0) return false;
    parameters_ = parameters;
    submissions_ = map(IORING_OFF_SQ_RING, parameters.sq_off.array + parameters.sq_entries * sizeof(std::uint32_t));
    entries_ = reinterpret_cast<io_uring_sqe*>(map(IORING_OFF_SQES, parameters.sq_entries * sizeof(io_uring_sqe)));
    const iovec buffer{page, 4096};
    return ::syscall(SYS_io_uring_register, ring_, IORING_REGISTER_BUFFERS, &buffer, 1) == 0;
  }

  /// Eight bytes that the page's owner never wrote; waits until they are there.
  bool read_into(char* page) {
    if (::write(pipe_[1], "landed!\n", 8) != 8) return false;
    io_uring_sqe& entry = entries_[0];
    std::memset(&entry, 0, sizeof entry);
    entry.opcode = IORING_OP_READ_FIXED;
    entry.fd = pipe_[0];
    entry.addr = reinterpret_cast<std::uint64_t>(page);
    entry.len = 8;
    auto* const tail = reinterpret_cast<std::uint32_t*>(submissions_ + parameters_.sq_off.tail);
    auto* const array = reinterpret_cast<std::uint32_t*>(submissions_ + parameters_.sq_off.array);
    array[*tail & (parameters_.sq_entries - 1)] = 0;
    __atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
    return ::syscall(SYS_io_uring_enter, ring_, 1, 1, IORING_ENTER_GETEVENTS, nullptr, 0) == 1;
  }

 private:
  char* map(off_t what, std::size_t length) const {
    return static_cast<char*>(::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_, what));
  }
  int ring_ = -1;
  int pipe_[2] = {-1, -1};
  io_uring_params parameters_{};
  char* submissions_ = nullptr;
  io_uring_sqe* entries_ = nullptr;
};

}  // namespace godwit::testing
