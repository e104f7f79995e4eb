#include "vmm/qemu/image_file.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/small_files.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

// Hosts with thousands of containers have some MiB of it.
constexpr std::size_t kMaxMountBytes = std::size_t{16} << 20;

struct FileSystem {
  std::uint64_t magic;
  const char* name;
  Storage storage;
};

// linux/magic.h and the file systems' own headers.
constexpr std::array kFileSystems = {
    FileSystem{0x6969, "nfs", Storage::kShared},          FileSystem{0xff534d42, "cifs", Storage::kShared},
    FileSystem{0xfe534d42, "cifs", Storage::kShared},     FileSystem{0x00c36400, "ceph", Storage::kShared},
    FileSystem{0x01161970, "gfs2", Storage::kShared},     FileSystem{0x7461636f, "ocfs2", Storage::kShared},
    FileSystem{0x0bd00bd0, "lustre", Storage::kShared},   FileSystem{0x47504653, "gpfs", Storage::kShared},
    FileSystem{0x19830326, "beegfs", Storage::kShared},   FileSystem{0xef53, "ext4", Storage::kLocal},
    FileSystem{0x58465342, "xfs", Storage::kLocal},       FileSystem{0x9123683e, "btrfs", Storage::kLocal},
    FileSystem{0x01021994, "tmpfs", Storage::kLocal},     FileSystem{0x2fc12fc1, "zfs", Storage::kLocal},
    FileSystem{0xf2f52010, "f2fs", Storage::kLocal},      FileSystem{0xca451a4e, "bcachefs", Storage::kLocal},
    FileSystem{0x858458f6, "ramfs", Storage::kLocal},     FileSystem{0x65735546, "fuse", Storage::kUnknown},
    FileSystem{0x794c7630, "overlay", Storage::kUnknown}, FileSystem{0x01021997, "9p", Storage::kUnknown},
};

/// The first descriptor of a set that QEMU was given.
Result<std::string> path_of_set(Qmp& qmp, const RemoteProcess& process, std::string_view number) {
  std::uint64_t id = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), id);
  if (error != std::errc{} || end != number.data() + number.size()) {
    return fail(ErrorKind::kUnsupported, "no descriptor set");
  }
  const Json sets = TRY(query_array(qmp, "query-fdsets"));
  for (const Json& set : sets) {
    if (number_at(set, "fdset-id") != id) continue;
    for (const Json& each : member(set, "fds")) {
      return fmt::format("/proc/{}/fd/{}", process.pid(), number_at(each, "fd"));
    }
  }
  return fail(ErrorKind::kNotFound, "QEMU does not list this descriptor set");
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  while (!line.empty() && (line.back() == ' ' || line.back() == '\n')) line.pop_back();
  return line.substr(0, 200);
}

/// A name that the device has at every host: LVM's and multipath's uuid, a world-wide name, a serial number.
std::string block_id_of(dev_t device) {
  const std::string folder = fmt::format("/sys/dev/block/{}:{}", major(device), minor(device));
  const std::string partition = first_line(folder + "/partition");
  const std::string whole = partition.empty() ? folder : folder + "/..";
  for (const char* name : {"dm/uuid", "wwid", "device/wwid", "device/serial", "serial"}) {
    const std::string id = first_line(whole + "/" + name);
    if (!id.empty()) return partition.empty() ? id : fmt::format("{} part {}", id, partition);
  }
  return {};
}

/// A server may leave it to its clients to number its files (mount option noserverino): then two clients number one
/// file differently, and two files alike.
bool numbers_its_files(const RemoteProcess& process, std::uint64_t device) {
  const auto mounts = read_whole_file(fmt::format("/proc/{}/mountinfo", process.pid()), kMaxMountBytes);
  return mounts && server_numbers_files(*mounts, device);
}

}  // namespace

Result<std::string> path_of_image(Qmp& qmp, const RemoteProcess& process, const std::string& name) {
  constexpr std::string_view kSet = "/dev/fdset/";
  if (name.starts_with(kSet)) return path_of_set(qmp, process, std::string_view(name).substr(kSet.size()));
  if (name.starts_with('/')) return fmt::format("/proc/{}/root{}", process.pid(), name);
  if (name.empty() || name.find(':') != std::string::npos) return fail(ErrorKind::kUnsupported, "no file");
  return fmt::format("/proc/{}/cwd/{}", process.pid(), name);
}

bool server_numbers_files(std::string_view mountinfo, std::uint64_t device) {
  const std::string number = fmt::format(" {}:{} ", major(device), minor(device));
  while (!mountinfo.empty()) {
    const auto end = std::min(mountinfo.find('\n'), mountinfo.size());
    const auto line = mountinfo.substr(0, end);
    mountinfo.remove_prefix(std::min(end + 1, mountinfo.size()));
    if (line.find(number) == line.npos) continue;
    const std::string options = fmt::format(",{},", line.substr(line.rfind(' ') + 1));
    return options.find(",serverino,") != std::string::npos;
  }
  return false;
}

void identify_image(const RemoteProcess& process, const ImageAnswer& found, Disk& disk) {
  disk.silent = found.state == ImageAnswer::State::kSilent;
  if (found.state != ImageAnswer::State::kLookedAt) return;
  if (S_ISBLK(found.mode)) {
    disk.storage = Storage::kBlock;
    disk.device = found.special;
    disk.block_id = block_id_of(found.special);
    return;
  }
  if (!S_ISREG(found.mode)) return;
  disk.device = found.device;
  disk.inode = found.inode;
  if (found.file_system == 0) return;
  disk.file_system = fmt::format("file system {:#x}", found.file_system);
  for (const auto& known : kFileSystems) {
    if (known.magic != found.file_system) continue;
    disk.file_system = known.name;
    disk.storage = known.storage;
  }
  if (disk.file_system == "cifs" && !numbers_its_files(process, found.device)) disk.storage = Storage::kUnknown;
}

}  // namespace godwit::qemu
