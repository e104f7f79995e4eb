#include "tests/support/qemu_vm.h"

#include <fmt/format.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "tests/support/setting_lock.h"

namespace godwit::testing {
namespace {

constexpr seconds kStartLimit{60};
constexpr const char* kOvercommit = "/proc/sys/vm/nr_overcommit_hugepages";

Result<std::filesystem::path> in_path(const std::string& name) {
  const char* path = std::getenv("PATH");
  std::string rest = path == nullptr ? "" : path;
  while (!rest.empty()) {
    const auto colon = rest.find(':');
    const auto candidate = std::filesystem::path(rest.substr(0, colon)) / name;
    if (::access(candidate.c_str(), X_OK) == 0) return candidate;
    rest = colon == std::string::npos ? "" : rest.substr(colon + 1);
  }
  return fail(ErrorKind::kNotFound, name + " is not installed");
}

/// One block is called as QEMU calls its default RAM, so that VMs with different backends fit each other.
std::string block_name(const QemuOptions& options, unsigned node) {
  return options.nodes == 1 ? "pc.ram" : fmt::format("ram{}", node);
}

std::string backend(const QemuOptions& options, const std::filesystem::path& folder, unsigned node) {
  const std::string id = block_name(options, node);
  const std::uint64_t size = options.size / options.nodes;
  const char* share = options.share ? "on" : "off";
  const char* prealloc = options.preallocate ? ",prealloc=on" : "";
  switch (options.ram) {
    case Ram::kPrivate:
      return fmt::format("memory-backend-ram,id={},size={}", id, size);
    case Ram::kMemfd:
      return fmt::format("memory-backend-memfd,id={},size={},share={}{}", id, size, share, prealloc);
    case Ram::kFile:
    case Ram::kHugetlbfs:
      break;
  }
  return fmt::format("memory-backend-file,id={},size={},share={},mem-path={}{}", id, size, share,
                     (folder / id).string(), prealloc);
}

void add_memory(std::vector<std::string>& line, const QemuOptions& options, const std::filesystem::path& folder) {
  std::string machine = fmt::format("{},accel={}", options.machine, options.kvm ? "kvm" : "tcg");
  const bool plain = options.ram == Ram::kPrivate && options.nodes == 1;
  if (!plain) {
    for (unsigned node = 0; node < options.nodes; ++node) {
      line.insert(line.end(), {"-object", backend(options, folder, node)});
      if (options.nodes > 1) line.insert(line.end(), {"-numa", "node,memdev=" + block_name(options, node)});
    }
    if (options.nodes == 1) machine += ",memory-backend=pc.ram";
  }
  line.insert(line.end(), {"-machine", machine, "-m", fmt::format("{}", options.size / kMiB)});
}

}  // namespace

std::string name_of(QemuVersion version) {
  return version == QemuVersion::k7_2 ? "7.2" : "10.0";
}

std::string name_of(Ram ram) {
  switch (ram) {
    case Ram::kPrivate:
      return "private";
    case Ram::kMemfd:
      return "memfd";
    case Ram::kFile:
      return "file";
    case Ram::kHugetlbfs:
      return "hugetlbfs";
  }
  return "?";
}

Result<std::filesystem::path> find_qemu(QemuVersion version) {
  if (version == QemuVersion::k7_2) {
    if (const char* named = std::getenv("GODWIT_QEMU_7")) return std::filesystem::path(named);
    return in_path("qemu-system-x86_64");
  }
  const char* folder = std::getenv("GODWIT_QEMU_10");
  const auto program = std::filesystem::path(folder == nullptr ? "" : folder) / "qemu-system-x86_64";
  if (folder == nullptr || ::access(program.c_str(), X_OK) != 0) {
    return fail(ErrorKind::kNotFound, "no QEMU 10.0: run tools/fetch_qemu_10 (GODWIT_QEMU_10 names its folder)");
  }
  return program;
}

Status TestQemu::prepare_folders() {
  folder_ = TRY(TempFolder::make("/tmp"));
  if (options_.ram == Ram::kFile) ram_folder_ = TRY(TempFolder::make(options_.ram_folder));
  if (options_.ram == Ram::kHugetlbfs) {
    ram_folder_ = TRY(TempFolder::make("/tmp"));
    TRY(ram_folder_.mount("hugetlbfs", "pagesize=2M"));
  }
  if (!options_.user) return {};
  for (const TempFolder* folder : {&folder_, &ram_folder_}) {
    if (folder->path().empty()) continue;
    if (::chown(folder->path().c_str(), *options_.user, *options_.user) != 0) return fail_os("chown a folder");
  }
  return {};
}

std::vector<std::string> TestQemu::command_line(const std::filesystem::path& program) const {
  const auto folder = folder_.path();
  std::vector<std::string> line = {
      program.string(), "-nodefaults", "-no-user-config", "-display", "none",
      "-vga",           "none",        "-no-reboot",      "-serial",  "file:" + (folder / "serial").string()};
  for (const char* name : {"qmp", "test-qmp"}) {
    line.insert(line.end(), {"-qmp", fmt::format("unix:{},server=on,wait=off", (folder / name).string())});
  }
  add_memory(line, options_, ram_folder_.path());
  line.insert(line.end(), {"-smp", std::to_string(options_.cpus)});
  if (!options_.cpu_model.empty()) line.insert(line.end(), {"-cpu", options_.cpu_model});
  if (!options_.guest.empty()) line.insert(line.end(), {"-kernel", options_.guest.string()});
  if (!options_.guest_line.empty()) line.insert(line.end(), {"-append", options_.guest_line});
  if (!options_.disk.empty()) {
    line.insert(line.end(), {"-drive",
                             fmt::format("file={},if=none,id=disk0,format=raw,cache=none,aio=native,readonly=on",
                                         options_.disk.string()),
                             "-device", "virtio-blk-pci,drive=disk0"});
  }
  if (options_.incoming) line.insert(line.end(), {"-S", "-incoming", "defer"});
  line.insert(line.end(), options_.more.begin(), options_.more.end());
  return line;
}

Result<std::unique_ptr<TestQemu>> TestQemu::start(const QemuOptions& options) {
  const auto program = TRY(find_qemu(options.version));
  if (options.kvm && ::access("/dev/kvm", R_OK | W_OK) != 0) {
    return fail(ErrorKind::kNotFound, "/dev/kvm is not there or may not be opened");
  }
  if (!options.guest.empty() && ::access(options.guest.c_str(), R_OK) != 0) {
    return fail(ErrorKind::kNotFound, "no test guest at " + options.guest.string() + " (is gcc-multilib installed?)");
  }
  auto qemu = std::unique_ptr<TestQemu>(new TestQemu);
  qemu->options_ = options;
  TRY(qemu->prepare_folders());
  ChildOptions child;
  child.command = options.before;
  child.user = options.user;
  const auto line = qemu->command_line(program);
  child.command.insert(child.command.end(), line.begin(), line.end());
  child.output = qemu->folder_.path() / "stdout";
  child.errors = qemu->folder_.path() / "stderr";
  qemu->child_ = TRY(ChildProcess::start(child));
  qemu->pid_ = qemu->child_->pid();
  auto monitor = QemuMonitor::connect(qemu->folder_.path() / "test-qmp", qemu->alive() ? kStartLimit : seconds(0));
  if (!monitor) return fail(ErrorKind::kHypervisor, "QEMU did not start: " + qemu->errors());
  qemu->monitor_ = std::move(*monitor);
  const std::string children = read_text(fmt::format("/proc/{0}/task/{0}/children", qemu->pid_));
  if (!options.before.empty() && !children.empty()) qemu->pid_ = std::stoi(children);
  TRY_IN("locate guest RAM", qemu->locate_blocks());
  return qemu;
}

Status TestQemu::locate_blocks() {
  const std::uint64_t part = options_.size / options_.nodes;
  for (unsigned node = 0; node < options_.nodes; ++node) {
    QemuBlock block;
    block.name = block_name(options_, node);
    block.size = part;
    block.physical = node * part;
    // The first MiB has firmware over it in places; a block that is reached from its second MiB is as good.
    const std::uint64_t sample = block.physical + kMiB;
    const std::string text = TRY(monitor_->human(fmt::format("gpa2hva {:#x}", sample)));
    const auto at = text.rfind("0x");
    if (at == std::string::npos) return fail(ErrorKind::kProtocol, "gpa2hva: " + text);
    block.address = std::strtoull(text.c_str() + at, nullptr, 16) - kMiB;
    blocks_.push_back(block);
  }
  return {};
}

Result<std::string> TestQemu::status() {
  const Json answer = TRY(monitor_->execute("query-status"));
  return answer.value("status", "");
}

Status TestQemu::stop() {
  TRY(monitor_->execute("stop"));
  return {};
}

Status TestQemu::go_on() {
  TRY(monitor_->execute("cont"));
  return {};
}

Status TestQemu::read_physical(std::uint64_t address, void* out, std::size_t size) const {
  for (const auto& block : blocks_) {
    if (address < block.physical || address + size > block.physical + block.size) continue;
    iovec local{out, size};
    iovec remote{reinterpret_cast<void*>(block.address + (address - block.physical)), size};
    if (::process_vm_readv(pid(), &local, 1, &remote, 1, 0) != static_cast<ssize_t>(size)) {
      return fail_os("process_vm_readv");
    }
    return {};
  }
  return fail(ErrorKind::kInvalidArgument, fmt::format("no RAM at {:#x}", address));
}

Result<HugePages> HugePages::allow(std::uint64_t pages) {
  UniqueFd lock = lock_setting(kOvercommit);
  std::string before = read_text(kOvercommit);
  if (before.empty()) return fail(ErrorKind::kUnsupported, "this kernel has no huge pages");
  const auto wanted = std::max<std::uint64_t>(pages, std::strtoull(before.c_str(), nullptr, 10));
  std::ofstream file(kOvercommit);
  file << wanted << std::flush;
  if (!file) return fail(ErrorKind::kNoPermission, std::string(kOvercommit) + " cannot be written");
  return HugePages(std::move(before), std::move(lock));
}

Result<std::optional<HugePages>> HugePages::for_vms(unsigned count, Ram ram, std::uint64_t size) {
  constexpr std::uint64_t kSpare = 16;
  if (ram != Ram::kHugetlbfs) return std::nullopt;
  return TRY(allow(count * size / (2 * kMiB) + kSpare));
}

HugePages::HugePages(HugePages&& other) noexcept : before_(std::move(other.before_)), lock_(std::move(other.lock_)) {
  other.before_.clear();
}

HugePages::~HugePages() {
  if (before_.empty()) return;
  std::ofstream(kOvercommit) << before_;
}

}  // namespace godwit::testing
