#include "vmm/qemu/device_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {

namespace {
constexpr const char* kOpaque = "godwit";
}  // namespace

Result<DeviceFile> DeviceFile::lend(Qmp& qmp) {
  UniqueFd ours(::memfd_create("godwit-devices", MFD_CLOEXEC));
  if (!ours) return fail_os("make a file for the devices");
  // QEMU opens it for writing only, and takes a descriptor of a set only if it is open in just that way.
  const UniqueFd theirs(::open(fmt::format("/proc/self/fd/{}", ours.get()).c_str(), O_WRONLY | O_CLOEXEC));
  if (!theirs) return fail_os("open the devices' file for QEMU");
  DeviceFile file(qmp, std::move(ours));
  const Json added = TRY(qmp.execute_with_descriptor("add-fd", Json{{"opaque", kOpaque}}, theirs.get()));
  file.set_ = number_at(added, "fdset-id");
  file.name_ = fmt::format("/dev/fdset/{}", file.set_);
  return file;
}

Result<std::vector<std::byte>> DeviceFile::read() const {
  struct stat about {};
  if (::fstat(file_.get(), &about) != 0) return fail_os("read the devices' file");
  std::vector<std::byte> bytes(static_cast<std::size_t>(about.st_size));
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(file_.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return fail_os("read the devices' file");
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

void DeviceFile::take_back() noexcept {
  // QEMU 7.2 keeps it open as long as its guest is paused, which is for ever once that has moved: without its bytes.
  if (file_) (void)::ftruncate(file_.get(), 0);
  if (!name_.empty()) (void)qmp_->execute("remove-fd", Json{{"fdset-id", set_}});
  name_.clear();
}

void take_back_left_files(Qmp& qmp) noexcept {
  const auto sets = query_array(qmp, "query-fdsets");
  if (!sets) return;
  for (const Json& set : *sets) {
    for (const Json& file : member(set, "fds")) {
      if (text_at(file, "opaque") != kOpaque) continue;
      (void)qmp.execute("remove-fd", Json{{"fdset-id", number_at(set, "fdset-id")}, {"fd", number_at(file, "fd")}});
    }
  }
}

/// `live` means that to QEMU, where the guest has been stopped before: so Xen's tools use it.
Result<std::vector<std::byte>> save_devices(Qmp& qmp, const DeviceFile& file, bool give_up_disks) {
  TRY(qmp.execute("xen-save-devices-state", Json{{"filename", file.name()}, {"live", give_up_disks}}));
  return file.read();
}

}  // namespace godwit::qemu
