// Builds QEMU migration streams by hand, record by record.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"

namespace godwit::testing {

/// A row of bytes that grows as a stream of QEMU does. Every method gives the builder back.
class StreamBuilder {
 public:
  static constexpr std::uint32_t kRam = 2;  ///< the RAM section's id

  StreamBuilder& be(std::uint64_t value, unsigned bytes) {
    for (unsigned i = bytes; i-- > 0;) bytes_.push_back(static_cast<char>(value >> (8 * i)));
    return *this;
  }
  StreamBuilder& raw(std::string_view text) {
    bytes_ += text;
    return *this;
  }
  StreamBuilder& text(std::string_view name) { return be(name.size(), 1).raw(name); }

  StreamBuilder& header() { return be(0x5145564d, 4).be(3, 4); }
  StreamBuilder& configuration(std::string_view machine) { return be(7, 1).be(machine.size(), 4).raw(machine); }
  StreamBuilder& subsection(std::string_view name) { return be(5, 1).text(name).be(1, 4); }
  StreamBuilder& ignore_shared() { return subsection("configuration/capabilities").be(1, 4).text("x-ignore-shared"); }
  StreamBuilder& start(std::string_view name = "ram", unsigned version = 4) {
    return be(1, 1).be(kRam, 4).text(name).be(0, 4).be(version, 4);
  }
  StreamBuilder& part() { return be(2, 1).be(kRam, 4); }
  StreamBuilder& end() { return be(3, 1).be(kRam, 4); }
  StreamBuilder& footer() { return be(0x7e, 1).be(kRam, 4); }
  StreamBuilder& command(unsigned number, std::string_view content) {
    return be(8, 1).be(number, 2).be(content.size(), 2).raw(content);
  }
  StreamBuilder& sizes(const std::vector<std::pair<std::string, std::uint64_t>>& blocks, bool addresses = false) {
    std::uint64_t total = 0;
    for (const auto& block : blocks) total += block.second;
    be(total | 4, 8);
    for (const auto& [name, size] : blocks) {
      text(name).be(size, 8);
      if (addresses) be(0x100000, 8);
    }
    return *this;
  }
  StreamBuilder& eos() { return be(0x10, 8); }
  StreamBuilder& page(std::string_view block, std::uint64_t address, char fill) {
    return be(address | 8, 8).text(block).raw(std::string(4096, fill));
  }
  StreamBuilder& page_on(std::uint64_t address, char fill) {  ///< of the same block as before
    return be(address | 8 | 0x20, 8).raw(std::string(4096, fill));
  }
  StreamBuilder& zero(std::string_view block, std::uint64_t address) { return be(address | 2, 8).text(block).be(0, 1); }
  StreamBuilder& zero_on(std::uint64_t address) { return be(address | 2 | 0x20, 8).be(0, 1); }

  const std::string& str() const noexcept { return bytes_; }
  Bytes bytes() const noexcept { return bytes_of(bytes_); }

 private:
  std::string bytes_;
};

}  // namespace godwit::testing
