// A disk of a VM as a value: what the guest is given, and what is under it, as far as that can be told apart from
// another thing that looks alike.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace godwit {

/// What a file lies on decides what its inode says at another host.
enum class Storage {
  kUnknown,  ///< not looked into: a network protocol, FUSE, a descriptor that cannot be found
  kLocal,    ///< a file system that one host has at a time: ext4, xfs, tmpfs
  kShared,   ///< one that several hosts have at once, with the same inodes: NFS, CephFS, GFS2
  kBlock,    ///< a block device
};
std::string name_of(Storage storage);
Storage storage_by_name(const std::string& name);

/// The keyed hash of a piece of the image, at a place where there is data.
struct ImageSample {
  std::uint64_t offset = 0;
  std::uint64_t hash = 0;
  bool operator==(const ImageSample&) const = default;
};

struct Disk {
  std::string place;       ///< of the guest's device, as Device::place; empty where no device was found
  std::string name;        ///< for people: the device's id, or the drive's or the node's name
  std::string node;        ///< block node name
  std::string format;      ///< "raw", "qcow2"
  std::string file;        ///< what QEMU opened: a path, or an address without credentials
  std::uint64_t size = 0;  ///< that the guest sees, bytes
  bool inserted = true;    ///< a removable drive may be empty
  bool read_only = false;
  bool firmware = false;  ///< pflash: its content is RAM and moves with the VM, so the file may be another one
  Storage storage = Storage::kUnknown;
  std::string file_system;           ///< "ext4", "nfs"
  std::uint64_t device = 0;          ///< st_dev of the file, or st_rdev of a block device
  std::uint64_t inode = 0;           ///< 0: unknown
  std::string block_id;              ///< world-wide name, LVM or multipath uuid of a block device; empty: it has none
  std::uint64_t sample_key = 0;      ///< of `samples`, random, the source's
  std::vector<ImageSample> samples;  ///< of the source only
  bool direct = false;               ///< cache.direct
  bool no_flush = false;             ///< cache.no-flush
  bool silent = false;               ///< its storage did not answer in time: the file was not looked at
  bool layers_told = false;          ///< an older side does not tell of `layers`
  /// The images under an overlay, from the one right under it to the base: `format`, `file`, `size` and what the
  /// file is; always read-only, and without layers of their own.
  std::vector<Disk> layers;
  bool operator==(const Disk&) const = default;
};

/// How many of a disk's samples another side's image has, and how many could be read there.
struct SampleMatch {
  unsigned equal = 0;
  unsigned read = 0;
};

/// What the two sides' disks say of each other.
struct DiskFit {
  std::vector<std::string> refusals;  ///< certainly not the same disk
  std::vector<std::string> warnings;  ///< cannot be told
};

/// Of a disk's image, and of each of its layers.
struct DiskMatch {
  SampleMatch image;
  std::vector<SampleMatch> layers;
};

/// `same_host`: both sides run under one kernel. `matches[i]` belongs to source[i] and the sink's disk at the same
/// place.
DiskFit compare_disks(const std::vector<Disk>& source, const std::vector<Disk>& sink, bool same_host,
                      const std::vector<DiskMatch>& matches);

/// The sink's disk for this one: at the same place, else of the same name; null if there is none.
const Disk* disk_for(const Disk& source, const std::vector<Disk>& sink);

/// Cache modes that lose writes, or show old data, when a disk is used from two hosts one after the other.
std::vector<std::string> unsafe_caches(const std::vector<Disk>& disks);

}  // namespace godwit
