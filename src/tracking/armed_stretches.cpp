#include "tracking/armed_stretches.h"

#include <algorithm>

namespace godwit {
namespace {

/// Ascending by their beginnings -> joined where they overlap, touch, or lie closer than `least_gap`.
std::vector<Stretch> joined(std::vector<Stretch> stretches, std::uint64_t least_gap) {
  std::vector<Stretch> out;
  for (const Stretch& next : stretches) {
    if (!out.empty() && next.begin <= out.back().end + least_gap) {
      out.back().end = std::max(out.back().end, next.end);
    } else {
      out.push_back(next);
    }
  }
  return out;
}

std::vector<Stretch> together(std::span<const Stretch> a, std::span<const Stretch> b) {
  std::vector<Stretch> all;
  std::ranges::merge(a, b, std::back_inserter(all), {}, &Stretch::begin, &Stretch::begin);
  return all;
}

/// What of `whole` is not in `parts`; both joined.
std::vector<Stretch> without(std::span<const Stretch> whole, std::span<const Stretch> parts) {
  std::vector<Stretch> out;
  auto part = parts.begin();
  for (Stretch rest : whole) {
    for (; part != parts.end() && part->begin < rest.end; ++part) {
      if (part->begin > rest.begin) out.push_back({rest.begin, part->begin});
      rest.begin = std::max(rest.begin, part->end);
    }
    if (rest.begin < rest.end) out.push_back(rest);
  }
  return out;
}

}  // namespace

Stretch ArmedStretches::rounded(const Stretch& data) const noexcept {
  const std::uint64_t begin = (address_ + data.begin) / kUnit * kUnit;
  const std::uint64_t end = (address_ + data.end + kUnit - 1) / kUnit * kUnit;
  return {std::max(begin, address_) - address_, std::min(end - address_, length_)};
}

std::vector<Stretch> ArmedStretches::missing(std::span<const Stretch> data, std::uint64_t least_gap) const {
  std::vector<Stretch> wanted;
  for (const Stretch& each : data) wanted.push_back(rounded(each));
  return without(joined(together(armed_, wanted), least_gap), armed_);
}

void ArmedStretches::add(std::span<const Stretch> armed) {
  armed_ = joined(together(armed_, armed), 0);
}

std::vector<Stretch> ArmedStretches::gaps() const {
  const Stretch all{0, length_};
  return without({&all, 1}, armed_);
}

std::uint64_t ArmedStretches::bytes() const noexcept {
  std::uint64_t bytes = 0;
  for (const Stretch& stretch : armed_) bytes += stretch.length();
  return bytes;
}

}  // namespace godwit
