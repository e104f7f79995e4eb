// A real QEMU, started for a test and gone with it.
//
// It has two monitors: one for the engine under test, one for the test itself (a QEMU monitor serves one client at a
// time). Everything it owns lies in temporary folders.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "base/units.h"
#include "tests/support/godwit_child.h"
#include "tests/support/godwit_temp_folder.h"
#include "tests/support/qemu_monitor.h"

namespace godwit::testing {

enum class QemuVersion { k7_2, k10_0 };
std::string name_of(QemuVersion version);
/// The program: for 7.2 the installed qemu-system-x86_64 (or GODWIT_QEMU_7), for 10.0 that in the folder GODWIT_QEMU_10
/// (tools/fetch_qemu_10). kNotFound says what to do.
Result<std::filesystem::path> find_qemu(QemuVersion version);

enum class Ram {
  kPrivate,    ///< QEMU's default: anonymous memory
  kMemfd,      ///< memory-backend-memfd, share=on
  kFile,       ///< memory-backend-file, share=on
  kHugetlbfs,  ///< memory-backend-file, share=on, in a hugetlbfs with pages of 2 MiB (mounted for the test)
};
std::string name_of(Ram ram);

struct QemuOptions {
  QemuVersion version = QemuVersion::k7_2;
  Ram ram = Ram::kFile;
  std::uint64_t size = 256 * kMiB;
  unsigned nodes = 1;        ///< NUMA nodes, each with a backend of its own and an equal part of the memory
  bool preallocate = false;  ///< prealloc=on; not for private RAM on one node
  bool share = true;         ///< of files and memfds: a shared mapping
  bool kvm = false;
  unsigned cpus = 1;
  std::string machine = "pc-i440fx-7.2";          ///< that both versions know
  std::string cpu_model;                          ///< empty: the machine's default
  std::filesystem::path guest;                    ///< -kernel; empty: none, the firmware finds nothing to boot
  std::string guest_line;                         ///< -append
  std::filesystem::path disk;                     ///< a virtio disk with cache=none, read-only; empty: none
  bool incoming = false;                          ///< the destination: -S -incoming defer
  std::filesystem::path ram_folder = "/dev/shm";  ///< where kFile puts its file
  std::vector<std::string> more;
  std::optional<uid_t> user;        ///< QEMU runs as this user; its folders are his. Needs root
  std::vector<std::string> before;  ///< what becomes QEMU: a program and its arguments, in front of QEMU's own
};

/// A RAM block of main memory as the test knows it from its own command line and QEMU's gpa2hva.
struct QemuBlock {
  std::string name;
  std::uint64_t size = 0;
  std::uint64_t address = 0;   ///< in QEMU's address space
  std::uint64_t physical = 0;  ///< guest-physical, of its first byte
};

class TestQemu {
 public:
  /// Started, its monitor connected, its RAM located. kNotFound where QEMU or what it needs is not on this machine.
  static Result<std::unique_ptr<TestQemu>> start(const QemuOptions& options);

  /// QEMU's own, also where what came before it stays as its parent.
  QemuVersion version() const noexcept { return options_.version; }
  pid_t pid() const noexcept { return pid_; }
  ChildProcess& process() noexcept { return *child_; }
  bool alive() { return child_->alive(); }
  const QemuOptions& options() const noexcept { return options_; }
  /// The engine's monitor.
  std::filesystem::path qmp_path() const { return folder_.path() / "qmp"; }
  std::filesystem::path folder() const { return folder_.path(); }
  /// The test's own.
  QemuMonitor& monitor() noexcept { return *monitor_; }
  const std::vector<QemuBlock>& blocks() const noexcept { return blocks_; }

  /// query-status: "running", "paused", "inmigrate", "postmigrate", ...
  Result<std::string> status();
  Status stop();
  Status go_on();
  /// What the guest printed.
  std::string serial() const { return read_text(folder_.path() / "serial"); }
  /// What QEMU wrote on stderr.
  std::string errors() const { return child_->errors(); }
  /// Copies guest-physical memory without the monitor; also of a running guest. Only places that hold data already.
  Status read_physical(std::uint64_t address, void* out, std::size_t size) const;

 private:
  TestQemu() = default;
  Status prepare_folders();
  Status locate_blocks();
  std::vector<std::string> command_line(const std::filesystem::path& program) const;

  QemuOptions options_;
  TempFolder folder_;
  TempFolder ram_folder_;
  std::unique_ptr<ChildProcess> child_;
  pid_t pid_ = 0;
  std::unique_ptr<QemuMonitor> monitor_;
  std::vector<QemuBlock> blocks_;
};

/// Lets the kernel hand out huge pages of 2 MiB on demand while this exists; nothing is reserved, so nothing stays
/// behind.
class HugePages {
 public:
  /// kUnsupported or kNoPermission where the machine has none to give.
  static Result<HugePages> allow(std::uint64_t pages);
  /// Enough for so many VMs of this kind, each in the next one's way for a while; without any where it needs none.
  static Result<std::optional<HugePages>> for_vms(unsigned count, Ram ram, std::uint64_t size);
  HugePages(HugePages&& other) noexcept;
  HugePages& operator=(HugePages&&) = delete;
  ~HugePages();

 private:
  HugePages(std::string before, UniqueFd lock) : before_(std::move(before)), lock_(std::move(lock)) {}
  std::string before_;
  UniqueFd lock_;
};

}  // namespace godwit::testing
