// Which stretches of a range are armed. The gaps between them held nothing when they were last looked at.
//
//   | armed |      gap      | armed | gap |      a page that comes to be in a gap is found by a look for data there;
//                                             then all around it is armed, and counts as written
//
// To arm a page that is not there takes an entry in the process's page table: 2 GiB of them for a TiB of nothing.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace godwit {

/// Offsets in a range, bytes.
struct Stretch {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
  std::uint64_t length() const noexcept { return end - begin; }
  bool operator==(const Stretch&) const = default;
};

class ArmedStretches {
 public:
  /// What one page of the page table maps, and a huge page: less is never armed.
  static constexpr std::uint64_t kUnit = std::uint64_t{2} << 20;

  /// For a range at this address. Nothing is armed.
  ArmedStretches(std::uint64_t address, std::uint64_t length) : address_(address), length_(length) {}

  /// What has to be armed beside what is, so that all of `data` is, rounded out to units; ascending. Gaps shorter than
  /// `least_gap` go with their neighbours.
  std::vector<Stretch> missing(std::span<const Stretch> data, std::uint64_t least_gap) const;
  /// They are armed now; ascending, as missing() gave them.
  void add(std::span<const Stretch> armed);

  const std::vector<Stretch>& armed() const noexcept { return armed_; }
  std::vector<Stretch> gaps() const;
  std::uint64_t bytes() const noexcept;

 private:
  Stretch rounded(const Stretch& data) const noexcept;

  std::uint64_t address_;
  std::uint64_t length_;
  std::vector<Stretch> armed_;  ///< ascending, none touches another
};

}  // namespace godwit
