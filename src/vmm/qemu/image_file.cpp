#include "vmm/qemu/image_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "base/random.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

constexpr std::size_t kSampleBytes = 4096;

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

/// Whether the process holds this very file: its name may have been given to another one since.
bool has_open(pid_t pid, int fd) {
  struct stat wanted {};
  if (::fstat(fd, &wanted) != 0) return false;
  std::error_code ignored;
  for (const auto& each : std::filesystem::directory_iterator(fmt::format("/proc/{}/fd", pid), ignored)) {
    struct stat found {};
    if (::stat(each.path().c_str(), &found) != 0) continue;
    if (found.st_dev == wanted.st_dev && found.st_ino == wanted.st_ino) return true;
  }
  return false;
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

/// Not for secrets: so that no two different pieces look alike by chance, and no prepared ones can.
std::uint64_t hash_of(std::span<const std::byte> piece, std::uint64_t key) {
  std::uint64_t hash = key ^ (piece.size() * 0x9e3779b97f4a7c15);
  for (std::size_t i = 0; i + 8 <= piece.size(); i += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, piece.data() + i, sizeof word);
    hash = (std::rotl(hash ^ word, 29) * 0xbf58476d1ce4e5b9) + key;
  }
  hash = (hash ^ (hash >> 30)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

/// For O_DIRECT.
struct alignas(kSampleBytes) Piece {
  std::array<std::byte, kSampleBytes> bytes{};
};

/// The piece at `offset`, zeros behind the end of the file; whether any of it could be read.
bool read_piece(int fd, std::uint64_t offset, Piece& piece) {
  piece.bytes.fill(std::byte{0});
  const ssize_t length = ::pread(fd, piece.bytes.data(), kSampleBytes, static_cast<off_t>(offset));
  // Without O_DIRECT it lies in the page cache now: of a disk that others write too it must not be found there later.
  (void)::posix_fadvise(fd, static_cast<off_t>(offset), kSampleBytes, POSIX_FADV_DONTNEED);
  return length > 0;
}

bool is_zero(const Piece& piece) {
  return std::all_of(piece.bytes.begin(), piece.bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Result<UniqueFd> open_image(Qmp& qmp, const RemoteProcess& process, const std::string& name) {
  constexpr std::string_view kSet = "/dev/fdset/";
  std::string path;
  if (name.starts_with(kSet)) {
    path = TRY(path_of_set(qmp, process, std::string_view(name).substr(kSet.size())));
  } else if (name.starts_with('/')) {
    path = fmt::format("/proc/{}/root{}", process.pid(), name);
  } else if (name.empty() || name.find(':') != std::string::npos) {
    return fail(ErrorKind::kUnsupported, "no file");
  } else {
    path = fmt::format("/proc/{}/cwd/{}", process.pid(), name);
  }
  constexpr int kFlags = O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
  UniqueFd fd(::open(path.c_str(), kFlags | O_DIRECT));
  if (!fd) fd = UniqueFd(::open(path.c_str(), kFlags));
  if (!fd) return fail_os("open " + path);
  if (!has_open(process.pid(), fd.get())) {
    return fail(ErrorKind::kNotFound, fmt::format("what is called '{}' now is not what QEMU has open", name));
  }
  return fd;
}

void identify_image(int fd, Disk& disk) {
  struct stat found {};
  if (::fstat(fd, &found) != 0) return;
  if (S_ISBLK(found.st_mode)) {
    disk.storage = Storage::kBlock;
    disk.device = found.st_rdev;
    disk.block_id = block_id_of(found.st_rdev);
    return;
  }
  if (!S_ISREG(found.st_mode)) return;
  disk.device = found.st_dev;
  disk.inode = found.st_ino;
  struct statfs system {};
  if (::fstatfs(fd, &system) != 0) return;
  const auto magic = static_cast<std::uint64_t>(system.f_type) & 0xffffffff;
  disk.file_system = fmt::format("file system {:#x}", magic);
  for (const auto& known : kFileSystems) {
    if (known.magic != magic) continue;
    disk.file_system = known.name;
    disk.storage = known.storage;
  }
}

Status take_samples(int fd, std::uint64_t parts, Disk& disk) {
  TRY(fill_with_random(std::as_writable_bytes(std::span(&disk.sample_key, 1))));
  const off_t end = ::lseek(fd, 0, SEEK_END);
  if (end < 0) return fail_os("find the size of " + disk.file);
  const auto size = static_cast<std::uint64_t>(end);
  Piece piece;
  for (std::uint64_t part = 0; part < parts; ++part) {
    const std::uint64_t from = size / parts * part / kSampleBytes * kSampleBytes;
    const std::uint64_t to = part + 1 == parts ? size : size / parts * (part + 1) / kSampleBytes * kSampleBytes;
    const off_t data = ::lseek(fd, static_cast<off_t>(from), SEEK_DATA);
    const std::uint64_t at = data < 0 ? from : static_cast<std::uint64_t>(data) / kSampleBytes * kSampleBytes;
    if ((data < 0 && errno == ENXIO) || at >= to) continue;
    if (read_piece(fd, at, piece) && !is_zero(piece))
      disk.samples.push_back({at, hash_of(piece.bytes, disk.sample_key)});
  }
  return {};
}

SampleMatch match_samples(int fd, const Disk& source) {
  SampleMatch match;
  Piece piece;
  for (const ImageSample& sample : source.samples) {
    if (sample.offset % kSampleBytes != 0 || sample.offset > (std::uint64_t{1} << 62)) continue;
    // What lies behind the end of a shorter file is other than what the source has there.
    (void)read_piece(fd, sample.offset, piece);
    ++match.read;
    if (hash_of(piece.bytes, source.sample_key) == sample.hash) ++match.equal;
  }
  return match;
}

}  // namespace godwit::qemu
