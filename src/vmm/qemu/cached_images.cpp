#include "vmm/qemu/cached_images.h"

#include "vmm/qemu/image_file.h"
#include "vmm/qemu/image_look.h"

namespace godwit::qemu {

CachedImages::CachedImages(Qmp& qmp, const RemoteProcess& process, const std::vector<Disk>& disks) : process_(process) {
  for (const Disk& disk : disks) {
    if (!disk.inserted || disk.direct || disk.silent) continue;
    add(qmp, disk);
    for (const Disk& layer : disk.layers) add(qmp, layer);
  }
}

void CachedImages::add(Qmp& qmp, const Disk& disk) {
  if (auto path = path_of_image(qmp, process_, disk.file)) paths_.push_back(std::move(*path));
}

void CachedImages::drop() {
  if (paths_.empty() || at_work_.exchange(true)) return;
  worker_ = std::jthread([this] {
    std::vector<ImageQuestion> questions;
    for (const auto& path : paths_) questions.push_back({.path = path, .drop_cache = true});
    (void)look_at_images(process_, questions);
    at_work_ = false;
  });
}

}  // namespace godwit::qemu
