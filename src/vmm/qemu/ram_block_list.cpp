#include "vmm/qemu/ram_block_list.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>

#include "base/limits.h"
#include "base/units.h"

namespace godwit::qemu {
namespace {

// A RAMBlock of QEMU's, on 64-bit hosts: bytes from its beginning.
namespace field {
constexpr std::uint64_t kHost = 24;
constexpr std::uint64_t kOffset = 40;
constexpr std::uint64_t kUsed = 48;
constexpr std::uint64_t kMost = 56;
constexpr std::uint64_t kName = 76;
constexpr std::uint64_t kNext = 336;
constexpr std::uint64_t kPrevious = 344;  // where the one before has its kNext
}  // namespace field
constexpr std::uint64_t kNameLength = 256;
constexpr std::uint64_t kNodeLength = 352;

// A QEMU with many devices has a heap of tens of MiB.
constexpr std::uint64_t kLargestHeap = 1 * kGiB;
constexpr std::uint64_t kHeapPiece = 1 * kMiB;
constexpr std::size_t kMostBlocks = 4 * most::kRamBlocks;

std::uint64_t word_at(Bytes bytes, std::uint64_t at) {
  std::uint64_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

struct Node {
  std::uint64_t at = 0;
  std::array<std::byte, kNodeLength> bytes{};

  std::uint64_t word(std::uint64_t field) const { return word_at(bytes, field); }
  std::string name() const {
    const auto* text = reinterpret_cast<const char*>(bytes.data() + field::kName);
    return {text, strnlen(text, kNameLength)};
  }
  bool is(const RamBlockLine& line) const {
    return name() == line.name && word(field::kOffset) == line.offset && word(field::kUsed) == line.size &&
           word(field::kMost) == line.most;
  }
};

Result<Node> node_at(const ReadMemory& read, std::uint64_t at) {
  Node node{.at = at};
  TRY(read(at, node.bytes));
  return node;
}

tl::unexpected<Error> not_found(std::string why) {
  return fail(ErrorKind::kNotFound, std::move(why));
}

/// The one place in the heap that is this block. A guest has its bytes in QEMU's heap now and then, but not two blocks'
/// addresses; what is there twice is not believed.
Result<Node> find_anchor(const ReadMemory& read, const Mapping& heap, const RamBlockLine& line, std::uint64_t known) {
  std::optional<Node> found;
  std::vector<std::byte> piece(kHeapPiece + kNodeLength);
  for (std::uint64_t begin = heap.start; begin < heap.end; begin += kHeapPiece) {
    const auto length = std::min(piece.size(), static_cast<std::size_t>(heap.end - begin));
    const MutableBytes bytes(piece.data(), length);
    TRY(read(begin, bytes));
    for (std::uint64_t at = 0; at + kNodeLength <= length && at < kHeapPiece; at += 8) {
      if (word_at(bytes, at + field::kHost) != known || word_at(bytes, at + field::kOffset) != line.offset) continue;
      Node node{.at = begin + at};
      std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), kNodeLength, node.bytes.begin());
      if (!node.is(line)) continue;
      if (found) return not_found(fmt::format("its heap has '{}' twice", line.name));
      found = node;
    }
  }
  if (!found) return not_found(fmt::format("its heap does not have '{}' as expected", line.name));
  return *found;
}

class List {
 public:
  List(const ReadMemory& read, const Mapping& heap, const std::vector<RamBlockLine>& lines)
      : read_(read), heap_(heap), lines_(lines) {}

  Status walk(const Node& anchor) {
    TRY(take(anchor));
    for (Node node = anchor; node.word(field::kNext) != 0;) {
      Node next = TRY(node_at(read_, node.word(field::kNext)));
      if (next.word(field::kPrevious) != node.at + field::kNext)
        return not_found("its list of RAM blocks is not linked as expected");
      TRY(take(next));
      node = next;
    }
    Node first = anchor;
    while (true) {
      const auto before = node_at(read_, first.word(field::kPrevious) - field::kNext);
      if (!before || before->word(field::kNext) != first.at || !is_one(*before)) break;
      TRY(take(*before));
      first = *before;
    }
    return check_head(first);
  }

  Result<std::map<std::string, std::uint64_t>> addresses() && {
    for (const auto& line : lines_) {
      if (line.size > 0 && !found_.contains(line.name)) {
        return not_found(fmt::format("its list of RAM blocks does not have '{}'", line.name));
      }
    }
    return std::move(found_);
  }

 private:
  /// The list's head, among QEMU's own data: a list that is in the heap as a whole has been put there.
  Status check_head(const Node& first) const {
    const std::uint64_t at = first.word(field::kPrevious);
    std::array<std::byte, sizeof(std::uint64_t)> head{};
    TRY(read_(at, head));
    if (word_at(head, 0) == first.at && (at < heap_.start || at >= heap_.end)) return {};
    return not_found("its list of RAM blocks has no head");
  }
  bool is_one(const Node& node) const {
    return std::ranges::any_of(lines_, [&](const RamBlockLine& line) { return node.is(line); });
  }
  Status take(const Node& node) {
    if (++taken_ > kMostBlocks) return not_found("its list of RAM blocks has no end");
    // One without a name is used by nothing, and QEMU does not tell of it.
    const std::string name = node.name();
    if (name.empty()) return {};
    if (!is_one(node)) return not_found(fmt::format("its list of RAM blocks has '{}' otherwise than it says", name));
    if (!found_.emplace(name, node.word(field::kHost)).second) {
      return not_found(fmt::format("its list of RAM blocks has '{}' twice", name));
    }
    return {};
  }

  const ReadMemory& read_;
  const Mapping& heap_;
  const std::vector<RamBlockLine>& lines_;
  std::map<std::string, std::uint64_t> found_;
  std::size_t taken_ = 0;
};

}  // namespace

Result<std::map<std::string, std::uint64_t>> find_block_list(const ReadMemory& read,
                                                             const std::vector<Mapping>& mappings,
                                                             const std::vector<RamBlockLine>& lines,
                                                             const std::string& anchor, std::uint64_t known) {
  const auto line = std::ranges::find(lines, anchor, &RamBlockLine::name);
  if (line == lines.end()) return not_found(fmt::format("it does not name '{}'", anchor));
  const auto heap = std::ranges::find(mappings, "[heap]", &Mapping::path);
  if (heap == mappings.end()) return not_found("it has no heap");
  if (heap->end - heap->start > kLargestHeap) return not_found("its heap is too large to be looked through");
  List list(read, *heap, lines);
  const Node node = TRY(find_anchor(read, *heap, *line, known));
  TRY(list.walk(node));
  return std::move(list).addresses();
}

}  // namespace godwit::qemu
