// Devices are matched by place, because that is what a guest and the migration stream know them by. What finds no
// partner there is looked for by id and by type elsewhere, so that a device in another slot is called that and not
// "missing".
#include "vm/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

namespace godwit {
namespace {

using Sentences = std::vector<std::string>;

// Chips of the board are on no bus that things are plugged into. Of these a guest notices that they come or go.
constexpr std::array<std::string_view, 12> kNoticedChips = {
    "hpet",    "isa-serial", "isa-parallel", "isa-debugcon", "isa-debug-exit", "pvpanic",
    "tpm-tis", "tpm-crb",    "vmgenid",      "vmcoreinfo",   "i8042",          "intel-iommu"};

bool is_plugged(const Device& device) {
  const auto slash = device.place.rfind("/ ");
  const std::string_view last =
      slash == std::string::npos ? device.place : std::string_view(device.place).substr(slash + 2);
  return !device.id.empty() || last.starts_with("PCI ") || last.starts_with("SCSI ") || last.starts_with("USB ") ||
         last.starts_with("IDE ") || last.starts_with("port ");
}

bool is_noticed(const Device& device, bool same_version) {
  return same_version || is_plugged(device) ||
         std::find(kNoticedChips.begin(), kNoticedChips.end(), device.type) != kNoticedChips.end();
}

/// Of two sides: for each device its partner's number on the other side.
class Pairing {
 public:
  Pairing(const std::vector<Device>& source, const std::vector<Device>& sink)
      : source_(source), sink_(sink), partner_(source.size(), kNone), taken_(sink.size(), false) {
    pair_up([](const Device& a, const Device& b) { return a.place == b.place && a.type == b.type; });
    pair_up([](const Device& a, const Device& b) { return !a.id.empty() && a.id == b.id && a.type == b.type; });
    pair_up([](const Device& a, const Device& b) { return a.place == b.place; });
    pair_up([](const Device& a, const Device& b) { return a.type == b.type && is_plugged(a) && is_plugged(b); });
  }

  const Device* partner(std::size_t i) const { return partner_[i] == kNone ? nullptr : &sink_[partner_[i]]; }
  bool taken(std::size_t i) const { return taken_[i]; }

 private:
  static constexpr std::size_t kNone = ~std::size_t{0};

  template <typename Fits>
  void pair_up(Fits fits) {
    for (std::size_t i = 0; i < source_.size(); ++i) {
      for (std::size_t j = 0; partner_[i] == kNone && j < sink_.size(); ++j) {
        if (taken_[j] || !fits(source_[i], sink_[j])) continue;
        partner_[i] = j;
        taken_[j] = true;
      }
    }
  }

  const std::vector<Device>& source_;
  const std::vector<Device>& sink_;
  std::vector<std::size_t> partner_;
  std::vector<bool> taken_;
};

/// Whether `place` lies on a bus of a device that was reported already: what hangs on it needs no words of its own.
bool hangs_on(const std::string& place, const std::vector<std::string>& reported) {
  return std::any_of(reported.begin(), reported.end(), [&](const std::string& above) {
    return place.size() > above.size() && place.starts_with(above + " / ");
  });
}

void compare_properties(Sentences& out, const Device& source, const Device& sink) {
  for (const auto& [name, value] : source.properties) {
    const auto other = sink.properties.find(name);
    // What "auto" has come to be is not told: "on" may be the same.
    if (other == sink.properties.end() || other->second == value || value == "auto" || other->second == "auto")
      continue;
    out.push_back(
        fmt::format("{}: {} is '{}' at the source, '{}' at the sink", describe(source), name, value, other->second));
  }
}

std::vector<std::size_t> by_place(const std::vector<Device>& devices) {
  std::vector<std::size_t> order(devices.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return devices[a].place < devices[b].place; });
  return order;
}

}  // namespace

std::string describe(const Device& device) {
  if (!device.id.empty()) return fmt::format("device '{}' ({})", device.id, device.type);
  if (device.place == device.type) return fmt::format("device {}", device.type);
  return fmt::format("device {} at {}", device.type, device.place);
}

std::vector<std::string> compare_devices(const std::vector<Device>& source, const std::vector<Device>& sink,
                                         bool same_version) {
  Sentences out;
  if (source.empty() || sink.empty()) return out;  // one side cannot tell
  const Pairing pairing(source, sink);
  std::vector<std::string> reported;
  for (const std::size_t i : by_place(source)) {
    const Device& here = source[i];
    const Device* there = pairing.partner(i);
    if (there == nullptr) {
      if (!is_noticed(here, same_version) || hangs_on(here.place, reported)) continue;
      reported.push_back(here.place);
      out.push_back(fmt::format("{} is missing at the sink", describe(here)));
    } else if (there->place == here.place && there->type != here.type) {
      if (!is_noticed(here, same_version)) continue;
      reported.push_back(here.place);
      out.push_back(fmt::format("{} holds a {} at the source, a {} at the sink", here.place, here.type, there->type));
    } else {
      if (there->place != here.place && !hangs_on(here.place, reported)) {
        reported.push_back(here.place);
        out.push_back(
            fmt::format("{} sits at {} at the source, at {} at the sink", describe(here), here.place, there->place));
      }
      compare_properties(out, here, *there);
    }
  }
  reported.clear();
  for (const std::size_t i : by_place(sink)) {
    if (pairing.taken(i) || !is_noticed(sink[i], same_version) || hangs_on(sink[i].place, reported)) continue;
    reported.push_back(sink[i].place);
    out.push_back(fmt::format("{} is missing at the source, the sink has it", describe(sink[i])));
  }
  return out;
}

}  // namespace godwit
