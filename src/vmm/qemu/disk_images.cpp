#include "vmm/qemu/disk_images.h"

#include <algorithm>
#include <array>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <utility>

#include "base/limits.h"
#include "base/random.h"
#include "vmm/qemu/device_tree.h"
#include "vmm/qemu/image_file.h"
#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

constexpr std::size_t kMaxName = most::kName;
constexpr std::size_t kMaxFile = 512;
// Enough to tell an empty disk, another VM's or an old state from this one; and so few that the sink has read them,
// from slow disks too, before the source takes it for dead.
constexpr std::size_t kMostParts = 16;
constexpr std::size_t kFewestParts = 4;
constexpr std::size_t kMostSamples = 256;
// Of one overlay (wire/limits.h), and of all together: far more than anybody has, and few enough for one message.
constexpr std::size_t kMostLayersOfOne = 64;
constexpr std::size_t kMostLayers = 512;

/// "/machine/peripheral/vb/virtio-backend" and "vb" are of the device with the id vb.
std::string id_in(std::string qdev) {
  constexpr std::string_view kFolder = "/machine/peripheral/";
  if (qdev.starts_with(kFolder)) {
    qdev.erase(0, kFolder.size());
    qdev.resize(std::min(qdev.find('/'), qdev.size()));
  }
  return qdev.starts_with('/') ? std::string() : qdev;
}

/// The device of the guest that uses it; none for what only an export or a job uses.
const TreeDevice* find_device(const std::vector<TreeDevice>& tree, const Json& block) {
  const std::string drive = text_at(block, "device");
  const std::string node = text_at(member(block, "inserted"), "node-name");
  const std::string id = id_in(text_at(block, "qdev"));
  for (const TreeDevice& device : tree) {
    const auto used = device.properties.find("drive");
    if (used == device.properties.end()) continue;
    if (!used->second.empty() && (used->second == drive || used->second == node)) return &device;
    if (!id.empty() && device.id == id) return &device;
  }
  return nullptr;
}

/// "ssh://user@host/x" without "user@"; a password has no place in what is sent or shown.
std::string without_credentials(std::string name) {
  const auto scheme = name.find("://");
  if (scheme == std::string::npos) {
    // rbd:pool/image:id=admin:key=...
    if (name.starts_with("rbd:")) name.resize(std::min(name.find(':', 4), name.size()));
    return name;
  }
  const auto host = scheme + 3;
  const auto slash = std::min(name.find('/', host), name.size());
  const auto at = name.rfind('@', slash);
  if (at != std::string::npos && at > host) name.erase(host, at + 1 - host);
  return name;
}

/// The id that the operator gave: of the PCI function, where a virtio disk sits behind one.
std::string id_of(const std::vector<TreeDevice>& tree, const TreeDevice* device) {
  if (device == nullptr) return {};
  const bool is_inner = device->id.empty() && device->parent && tree[*device->parent].place == device->place;
  return is_inner ? tree[*device->parent].id : device->id;
}

std::string name_for_people(const std::string& id, const Json& block) {
  const std::string names[] = {id, text_at(block, "device"), text_at(member(block, "inserted"), "node-name"),
                               text_at(block, "qdev")};
  for (const auto& name : names) {
    if (!name.empty()) return name.substr(0, kMaxName);
  }
  return "without a name";
}

/// What a filter shows is what lies under it, and filters are the host's affair: a throttled disk is the same disk.
bool is_filter(const Json& image) {
  static constexpr auto kFilters = std::to_array<std::string_view>(
      {"throttle", "copy-on-read", "preallocate", "copy-before-write", "snapshot-access", "blkdebug", "blklogwrites"});
  return std::find(kFilters.begin(), kFilters.end(), text_at(image, "format")) != kFilters.end();
}

const Json* without_filters(const Json* image) {
  while (is_filter(*image) && member(*image, "backing-image").is_object()) image = &member(*image, "backing-image");
  return image;
}

void describe_image(const Json& image, Disk& disk) {
  disk.format = text_at(image, "format").substr(0, kMaxName);
  disk.size = number_at(image, "virtual-size");
  disk.file = without_credentials(text_at(image, "filename")).substr(0, kMaxFile);
}

/// `room`: how many may still be told of. A chain that is not told whole is not told at all.
void describe_layers(const Json& image, std::size_t& room, Disk& disk) {
  std::vector<Disk> layers;
  const Json* under = &member(image, "backing-image");
  while (under->is_object()) {
    under = without_filters(under);
    if (layers.size() == kMostLayersOfOne || layers.size() == room) return;
    Disk& layer = layers.emplace_back();
    layer.read_only = true;
    describe_image(*under, layer);
    under = &member(*under, "backing-image");
  }
  room -= layers.size();
  disk.layers_told = true;
  disk.layers = std::move(layers);
}

Disk describe(const Json& block, const TreeDevice* device, const std::string& id, std::size_t& room) {
  const Json& inserted = member(block, "inserted");
  const Json& image = *without_filters(&member(inserted, "image"));
  const Json& cache = member(inserted, "cache");
  Disk disk;
  disk.place = device == nullptr ? std::string() : device->place;
  disk.firmware = device != nullptr && device->type.starts_with("cfi.pflash");
  disk.name = name_for_people(id, block);
  disk.inserted = !inserted.is_null();
  disk.node = text_at(inserted, "node-name").substr(0, kMaxName);
  disk.read_only = bool_at(inserted, "ro");
  disk.direct = bool_at(cache, "direct");
  disk.no_flush = bool_at(cache, "no-flush");
  describe_image(image, disk);
  if (disk.inserted && !disk.firmware) describe_layers(image, room, disk);
  return disk;
}

/// Images that can be looked at, and what is asked of each.
class Questions {
 public:
  Questions(Qmp& qmp, const RemoteProcess& process) : qmp_(qmp), process_(process) {}

  void add(Disk& image, ImageQuestion question) {
    auto path = path_of_image(qmp_, process_, image.file);
    if (!path) return;
    question.path = *std::move(path);
    images_.push_back(&image);
    questions_.push_back(std::move(question));
  }

  template <typename Take>
  void ask(Take take) {
    const auto answers = look_at_images(process_, questions_);
    for (std::size_t i = 0; i < answers.size(); ++i) take(*images_[i], answers[i]);
  }

 private:
  Qmp& qmp_;
  const RemoteProcess& process_;
  std::vector<Disk*> images_;
  std::vector<ImageQuestion> questions_;
};

SampleMatch matches_of(const Disk& source, const ImageAnswer& found) {
  SampleMatch match;
  if (found.state != ImageAnswer::State::kLookedAt) return match;
  for (const ImageSample& here : found.samples) {
    const auto there = std::find_if(source.samples.begin(), source.samples.end(),
                                    [&](const ImageSample& sample) { return sample.offset == here.offset; });
    if (there == source.samples.end()) continue;
    ++match.read;
    if (there->hash == here.hash) ++match.equal;
  }
  return match;
}

ImageQuestion question_about(const Disk& source) {
  ImageQuestion question;
  question.key = source.sample_key;
  for (const ImageSample& sample : source.samples) {
    if (sample.offset % 4096 == 0 && sample.offset <= (std::uint64_t{1} << 62)) {
      question.offsets.push_back(sample.offset);
    }
  }
  return question;
}

}  // namespace

Result<std::vector<Disk>> list_disks(Qmp& qmp, const RemoteProcess& process) {
  std::vector<Disk> disks;
  const Json blocks = TRY(query_array(qmp, "query-block"));
  if (blocks.empty()) return disks;
  const auto tree = parse_device_tree(TRY(qmp.human("info qtree")));
  std::size_t room = kMostLayers;
  for (const Json& block : blocks) {
    const TreeDevice* device = find_device(tree, block);
    if ((device == nullptr && text_at(block, "qdev").empty()) || disks.size() > most::kDisks) continue;
    disks.push_back(describe(block, device, id_of(tree, device), room));
  }
  Questions questions(qmp, process);
  for (Disk& disk : disks) {
    if (disk.inserted) questions.add(disk, {});
    for (Disk& layer : disk.layers) questions.add(layer, {});
  }
  questions.ask([&](Disk& image, const ImageAnswer& found) { identify_image(process, found, image); });
  return disks;
}

Status sample_disks(Qmp& qmp, const RemoteProcess& process, std::vector<Disk>& disks) {
  std::vector<Disk*> images;
  for (Disk& disk : disks) {
    if (!disk.inserted || disk.firmware) continue;
    images.push_back(&disk);
    for (Disk& layer : disk.layers) images.push_back(&layer);
  }
  if (images.empty()) return {};
  const auto parts = std::clamp(kMostSamples / images.size(), kFewestParts, kMostParts);
  Questions questions(qmp, process);
  for (Disk* image : images) {
    TRY(fill_with_random(std::as_writable_bytes(std::span(&image->sample_key, 1))));
    if (!image->silent) questions.add(*image, {.path = {}, .parts = parts, .offsets = {}, .key = image->sample_key});
  }
  questions.ask([](Disk& image, const ImageAnswer& found) {
    if (found.state == ImageAnswer::State::kSilent) image.silent = true;
    image.samples = found.samples;
  });
  return {};
}

DiskMatch match_disk(Qmp& qmp, const RemoteProcess& process, const Disk& source, const Disk& sink) {
  DiskMatch match;
  match.layers.resize(source.layers.size());
  if (!sink.inserted) return match;
  Questions questions(qmp, process);
  std::map<const Disk*, std::pair<const Disk*, SampleMatch*>> pairs;
  Disk image = sink;
  const auto add = [&](Disk& here, const Disk& there, SampleMatch& into) {
    if (there.samples.empty() || here.silent) return;
    pairs[&here] = {&there, &into};
    questions.add(here, question_about(there));
  };
  add(image, source, match.image);
  for (std::size_t i = 0; i < std::min(image.layers.size(), source.layers.size()); ++i) {
    add(image.layers[i], source.layers[i], match.layers[i]);
  }
  questions.ask([&](Disk& here, const ImageAnswer& found) {
    const auto& [there, into] = pairs.at(&here);
    *into = matches_of(*there, found);
  });
  return match;
}

}  // namespace godwit::qemu
