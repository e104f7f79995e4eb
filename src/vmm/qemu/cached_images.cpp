#include "vmm/qemu/cached_images.h"

#include "base/cpu_account.h"
#include "vmm/qemu/image_file.h"
#include "vmm/qemu/image_look.h"

namespace godwit::qemu {

std::jthread drop_cached_images(Qmp& qmp, const RemoteProcess& process, const std::vector<Disk>& disks) {
  std::vector<ImageQuestion> questions;
  const auto add = [&](const Disk& disk) {
    if (auto path = path_of_image(qmp, process, disk.file)) {
      questions.push_back({.path = std::move(*path), .drop_cache = true});
    }
  };
  for (const Disk& disk : disks) {
    if (!disk.inserted || disk.direct || disk.silent) continue;
    add(disk);
    for (const Disk& layer : disk.layers) add(layer);
  }
  if (questions.empty()) return {};
  return job_thread([&process, questions = std::move(questions)] { (void)look_at_images(process, questions); });
}

}  // namespace godwit::qemu
