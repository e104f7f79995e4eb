// A process whose memory a benchmark tracks: it writes pages when it is told to.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>

namespace godwit::bench {

enum class Kind { kMemfd, kPrivate };

class ScannedProcess {
 public:
  ScannedProcess(Kind kind, std::uint64_t bytes);
  ~ScannedProcess();
  ScannedProcess(const ScannedProcess&) = delete;
  ScannedProcess& operator=(const ScannedProcess&) = delete;

  pid_t pid() const noexcept { return pid_; }
  std::uint64_t address() const noexcept { return state_->address; }
  /// Writes one page in each `stride`, over the whole memory or its first bytes; returns when it is done.
  void write(std::uint64_t stride, std::uint64_t first_bytes = ~std::uint64_t{0});
  /// Memory of its page tables, in bytes.
  std::uint64_t page_table_bytes() const;

 private:
  struct State {
    std::atomic<std::uint64_t> address{0};
    std::atomic<std::uint64_t> first_bytes{0};
    std::atomic<std::uint64_t> stride{0};  ///< not 0: to be written
  };
  void serve(Kind kind, std::uint64_t bytes);
  State* state_;
  pid_t pid_;
};

}  // namespace godwit::bench
