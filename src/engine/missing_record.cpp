#include "engine/missing_record.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>

#include "base/bytes.h"
#include "base/unique_fd.h"

namespace godwit {

namespace {

using nlohmann::json;

constexpr std::string_view kRecordMagic = "godwit missing 4 ";
constexpr std::size_t kRecordHeader = 96;
// What is mapped begins at a page of the file.
constexpr std::uint64_t kRecordPiece = kPageSize;
// A block has a name of 255 bytes at most, and its place as many again; there are at most 1024.
constexpr std::size_t kMostHead = std::size_t{4} << 20;

/// As in the journal, but a word at a time: a guest of a TiB has 32 MiB of words.
class RecordSum {
 public:
  void add(std::uint64_t word) noexcept { sum_ = (sum_ ^ word) * 0x100000001b3; }
  void add(std::string_view text) noexcept {
    for (const char c : text) add(static_cast<unsigned char>(c));
  }
  std::uint64_t value() const noexcept { return sum_; }

 private:
  std::uint64_t sum_ = 0xcbf29ce484222325;
};

std::uint64_t sum_of(std::string_view head, std::span<const PageWord> words) {
  RecordSum sum;
  sum.add(head);
  for (const PageWord word : words) sum.add(word);
  return sum.value();
}

std::string head_of(const MissingRecord& record) {
  json blocks = json::array();
  for (const auto& block : record.blocks) {
    blocks.push_back({{"name", block.name}, {"size", block.size}, {"page_size", block.page_size}});
  }
  return json{{"id", record.id},
              {"vm", record.vm_name},
              {"where", record.where},
              {"direct", record.direct},
              {"blocks", std::move(blocks)}}
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string header_of(std::string_view head, std::span<const PageWord> words) {
  std::string header = fmt::format("{}{} {} {:016x}", kRecordMagic, head.size(), words.size(), sum_of(head, words));
  header.resize(kRecordHeader - 1, ' ');
  return header + '\n';
}

Status write_whole(int fd, std::uint64_t offset, const void* from, std::size_t size, const std::string& path) {
  const char* at = static_cast<const char*>(from);
  while (size != 0) {
    const ssize_t written = ::pwrite(fd, at, size, static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_os("write " + path);
    at += written;
    offset += static_cast<std::uint64_t>(written);
    size -= static_cast<std::size_t>(written);
  }
  return {};
}

Status read_whole(int fd, std::uint64_t offset, void* to, std::size_t size, const std::string& path) {
  char* at = static_cast<char*>(to);
  while (size != 0) {
    const ssize_t got = ::pread(fd, at, size, static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_os("read " + path);
    if (got == 0) return fail(ErrorKind::kIo, "read " + path + ": it ends too early");
    at += got;
    offset += static_cast<std::uint64_t>(got);
    size -= static_cast<std::size_t>(got);
  }
  return {};
}

/// A write to what is mapped of the file needs no room then, which could be lacking.
Status make_room(int fd, std::uint64_t from, std::uint64_t end, const std::string& path) {
  const int number = ::posix_fallocate(fd, static_cast<off_t>(from), static_cast<off_t>(end - from));
  if (number != 0) return fail(os_error("make room in " + path, number));
  return {};
}

constexpr std::uint64_t next_piece(std::uint64_t at) noexcept {
  return (at + kRecordPiece - 1) / kRecordPiece * kRecordPiece;
}

/// What the first line says: lengths of what follows, and its sum.
struct Sizes {
  std::uint64_t head = 0;
  std::uint64_t words = 0;
  std::uint64_t sum = 0;

  // Where what follows begins.
  std::uint64_t words_at() const noexcept { return next_piece(kRecordHeader + head); }
  std::uint64_t arrived_at() const noexcept { return next_piece(words_at() + words * sizeof(PageWord)); }
  /// Both numbers there are in one page, so that a process that is killed has written both or none.
  std::uint64_t besides_at() const noexcept {
    constexpr std::uint64_t kBoth = 2 * sizeof(std::uint64_t);
    return (arrived_at() + ArrivedMap::bytes_for(words) + kBoth - 1) / kBoth * kBoth;
  }
  /// With nothing missing besides.
  std::uint64_t length() const noexcept {
    return words == 0 ? kRecordHeader + head : besides_at() + 2 * sizeof(std::uint64_t);
  }
};

/// What is missing besides: their number and sum, and behind these a chunk and its word each.
struct Besides {
  std::array<std::uint64_t, 2> first{};
  std::vector<std::array<std::uint64_t, 2>> entries;

  std::uint64_t bytes() const noexcept { return entries.size() * sizeof entries[0]; }
  std::uint64_t sum() const noexcept {
    RecordSum sum;
    for (const auto& [chunk, pages] : entries) {
      sum.add(chunk);
      sum.add(pages);
    }
    return sum.value();
  }
};

std::optional<Sizes> sizes_in(std::string_view line) {
  if (!line.starts_with(kRecordMagic) || line.back() != '\n') return std::nullopt;
  line.remove_prefix(kRecordMagic.size());
  Sizes sizes;
  const char* const end = line.data() + line.size();
  const auto head = std::from_chars(line.data(), end, sizes.head);
  if (head.ec != std::errc{} || *head.ptr != ' ') return std::nullopt;
  const auto words = std::from_chars(head.ptr + 1, end, sizes.words);
  if (words.ec != std::errc{} || *words.ptr != ' ') return std::nullopt;
  const auto sum = std::from_chars(words.ptr + 1, end, sizes.sum, 16);
  return sum.ec == std::errc{} ? std::optional(sizes) : std::nullopt;
}

/// Nothing where a key is missing, or is something else.
std::optional<MissingRecord> record_in(const std::string& head) {
  const json object = json::parse(head, nullptr, /*allow_exceptions=*/false);
  const auto text = [&](const char* key) { return object.contains(key) && object[key].is_string(); };
  if (!object.is_object() || !text("id") || !text("vm") || !text("where")) return std::nullopt;
  if (!object.contains("direct") || !object["direct"].is_boolean()) return std::nullopt;
  if (!object.contains("blocks") || !object["blocks"].is_array()) return std::nullopt;
  MissingRecord record{.id = object["id"], .vm_name = object["vm"], .where = object["where"]};
  record.direct = object["direct"];
  for (const json& block : object["blocks"]) {
    const auto number = [&](const char* key) { return block.contains(key) && block[key].is_number_unsigned(); };
    if (!block.is_object() || !block.contains("name") || !block["name"].is_string()) return std::nullopt;
    if (!number("size") || !number("page_size")) return std::nullopt;
    record.blocks.push_back({.name = block["name"], .size = block["size"], .page_size = block["page_size"]});
  }
  return record;
}

std::string fresh_path(const std::string& path) {
  return path + ".new";
}

tl::unexpected<Error> foreign_record(const std::string& path) {
  return fail(ErrorKind::kRefused, path +
                                       " is not a whole record of this version of Godwit of what a guest lacks: only "
                                       "that which wrote it can go on with it");
}

Result<Sizes> sizes_of(int fd, const std::string& path) {
  struct stat file {};
  if (::fstat(fd, &file) != 0) return fail_os("look at " + path);
  const auto length = static_cast<std::uint64_t>(file.st_size);
  if (length < kRecordHeader) return foreign_record(path);
  std::string line(kRecordHeader, '\0');
  TRY(read_whole(fd, 0, line.data(), line.size(), path));
  const auto sizes = sizes_in(line);
  if (!sizes || sizes->head > kMostHead || sizes->words > length / sizeof(PageWord)) return foreign_record(path);
  // Of what was being added when its writer was killed nothing counts.
  if (length < sizes->length() || (sizes->words == 0 && length != sizes->length())) return foreign_record(path);
  return *sizes;
}

Status read_besides(int fd, const Sizes& sizes, std::vector<PageWord>& words, const std::string& path) {
  Besides besides;
  TRY(read_whole(fd, sizes.besides_at(), besides.first.data(), sizeof besides.first, path));
  const auto [count, sum] = besides.first;
  if (count == 0) return {};
  if (count > words.size()) return foreign_record(path);
  besides.entries.resize(count);
  TRY(read_whole(fd, sizes.length(), besides.entries.data(), besides.bytes(), path));
  if (besides.sum() != sum) return foreign_record(path);
  for (const auto& [chunk, pages] : besides.entries) {
    if (chunk >= words.size()) return foreign_record(path);
    words[chunk] |= pages;
  }
  return {};
}

}  // namespace

void remove_missing_record(const std::string& path) noexcept {
  ::unlink(path.c_str());
  ::unlink(fresh_path(path).c_str());
}

Status write_missing_record(const std::string& path, const MissingRecord& record) {
  const std::string fresh = fresh_path(path);
  const std::string head = head_of(record);
  if (head.size() > kMostHead) return fail(ErrorKind::kInvalidArgument, "too many RAM blocks to keep a record of");
  const UniqueFd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd) return fail_os("make " + fresh);
  const std::string first = header_of(head, record.words) + head;
  TRY(write_whole(fd.get(), 0, first.data(), first.size(), fresh));
  if (!record.words.empty()) {
    const Sizes sizes{.head = head.size(), .words = record.words.size()};
    TRY(write_whole(fd.get(), sizes.words_at(), record.words.data(), sizes.words * sizeof(PageWord), fresh));
    TRY(make_room(fd.get(), sizes.arrived_at(), sizes.length(), fresh));
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) return fail_os("rename " + fresh);
  return {};
}

Status add_to_missing_record(const std::string& path, std::span<const MissingBesides> added) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_os("open " + path);
  const auto sizes = TRY(sizes_of(fd.get(), path));
  if (sizes.words == 0) return foreign_record(path);
  Besides besides;
  besides.entries.reserve(added.size());
  for (const auto& [chunk, pages] : added) besides.entries.push_back({chunk.value, pages});
  besides.first = {besides.entries.size(), besides.sum()};
  TRY(write_whole(fd.get(), sizes.length(), besides.entries.data(), besides.bytes(), path));
  return write_whole(fd.get(), sizes.besides_at(), besides.first.data(), sizeof besides.first, path);
}

Result<MissingRecord> read_missing_record(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_os("open " + path);
  const auto sizes = TRY(sizes_of(fd.get(), path));
  std::string head(sizes.head, '\0');
  TRY(read_whole(fd.get(), kRecordHeader, head.data(), head.size(), path));
  std::vector<PageWord> words(sizes.words);
  TRY(read_whole(fd.get(), sizes.words_at(), words.data(), words.size() * sizeof(PageWord), path));
  if (sum_of(head, words) != sizes.sum) return foreign_record(path);
  if (!words.empty()) TRY(read_besides(fd.get(), sizes, words, path));
  auto record = record_in(head);
  if (!record) return foreign_record(path);
  const auto layout = RamLayout::make(record->blocks);
  if (!layout || (!words.empty() && words.size() != layout->chunk_count())) return foreign_record(path);
  // Without its words it says that nothing is missing.
  if (!TRY(ArrivedMap::map(fd.get(), sizes.arrived_at(), sizes.words)).finished()) record->words = std::move(words);
  return *std::move(record);
}

Result<ArrivedMap> map_arrived(const std::string& path) {
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return fail_os("open " + path);
  const auto sizes = TRY(sizes_of(fd.get(), path));
  return ArrivedMap::map(fd.get(), sizes.arrived_at(), sizes.words);
}

}  // namespace godwit
