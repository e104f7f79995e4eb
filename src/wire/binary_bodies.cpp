// The bodies that are not JSON: page words, run-length coded, and a fence's number. spec.md has their bytes.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "wire/bodies.h"
#include "wire/limits.h"
#include "wire/little_endian.h"

namespace godwit::wire {
namespace {

enum class Run : std::uint32_t { kEmpty = 0, kFull = 1, kWords = 2 };

constexpr unsigned kKindShift = 30;
constexpr std::uint32_t kLengthMask = (1u << kKindShift) - 1;
constexpr std::size_t kMapHeaderSize = 8;

Run kind_of(PageWord word) {
  if (word == 0) return Run::kEmpty;
  return word == kAllPages ? Run::kFull : Run::kWords;
}

tl::unexpected<Error> bad_map(std::string_view why) {
  return fail(ErrorKind::kProtocol, fmt::format("a data map {}", why));
}

/// Takes the words of one run off the front of `runs`.
Status take_words(Bytes& runs, std::size_t count, std::vector<PageWord>& words) {
  if (runs.size() / sizeof(PageWord) < count) return bad_map("ends in the middle of a run");
  for (std::size_t i = 0; i < count; ++i) {
    const auto word = get<PageWord>(runs.data() + i * sizeof(PageWord));
    if (kind_of(word) != Run::kWords) return bad_map("has an empty or full word in a run of mixed words");
    words.push_back(word);
  }
  runs = runs.subspan(count * sizeof(PageWord));
  return {};
}

}  // namespace

std::vector<std::byte> encode_body(const DataMap& map) {
  std::vector<std::byte> body;
  append(body, map.first.value);
  append(body, static_cast<std::uint32_t>(map.words.size()));
  for (auto at = map.words.begin(); at != map.words.end();) {
    const Run kind = kind_of(*at);
    const auto end = std::find_if(at, map.words.end(), [&](PageWord word) { return kind_of(word) != kind; });
    const auto length = static_cast<std::uint32_t>(end - at);
    append(body, (static_cast<std::uint32_t>(kind) << kKindShift) | (length & kLengthMask));
    for (; at != end; ++at) {
      if (kind == Run::kWords) append(body, *at);
    }
  }
  return body;
}

Result<DataMap> decode_data_map(Bytes body) {
  if (body.size() < kMapHeaderSize) return bad_map("is too short");
  DataMap map;
  map.first = ChunkIndex{get<std::uint32_t>(body.data())};
  const std::size_t count = get<std::uint32_t>(body.data() + 4);
  if (count == 0 || count > kMaxMapWords) {
    return bad_map(fmt::format("has {} chunks, 1 to {} are allowed", count, kMaxMapWords));
  }
  if (map.first.value + std::uint64_t{count} > std::uint64_t{1} << 32)
    return bad_map("ends past the last chunk number");
  map.words.reserve(count);

  std::optional<Run> before;
  for (Bytes runs = body.subspan(kMapHeaderSize); map.words.size() < count || !runs.empty();) {
    if (runs.size() < sizeof(std::uint32_t)) return bad_map("ends before its last chunk");
    const auto run = get<std::uint32_t>(runs.data());
    runs = runs.subspan(sizeof run);
    const auto kind = static_cast<Run>(run >> kKindShift);
    const std::size_t length = run & kLengthMask;
    if (length == 0 || length > count - map.words.size()) return bad_map("has a run of a wrong length");
    if (before == kind) return bad_map("has two runs of a kind side by side");
    before = kind;
    switch (kind) {
      case Run::kEmpty:
        map.words.resize(map.words.size() + length, 0);
        break;
      case Run::kFull:
        map.words.resize(map.words.size() + length, kAllPages);
        break;
      case Run::kWords:
        TRY(take_words(runs, length, map.words));
        break;
      default:
        return bad_map("has a run of an unknown kind");
    }
  }
  return map;
}

/// Both maps are of one form.
std::vector<std::byte> encode_body(const MissingMap& map) {
  return encode_body(DataMap{map.first, map.words});
}

Result<MissingMap> decode_missing_map(Bytes body) {
  auto map = TRY(decode_data_map(body));
  return MissingMap{map.first, std::move(map.words)};
}

std::vector<std::byte> encode_body(const Fenced& fenced) {
  std::vector<std::byte> body;
  append(body, fenced.fence);
  return body;
}

Result<Fenced> decode_fenced(Bytes body) {
  if (body.size() != sizeof(Fenced::fence)) return fail(ErrorKind::kProtocol, "Fenced has a body of a wrong length");
  return Fenced{get<std::uint32_t>(body.data())};
}

std::vector<std::byte> encode_body(const PackedDevices& devices) {
  std::vector<std::byte> body;
  append(body, std::uint32_t{devices.codec});
  append(body, devices.size);
  body.insert(body.end(), devices.bytes.begin(), devices.bytes.end());
  return body;
}

Result<PackedDevices> decode_packed_devices(Bytes body) {
  const auto bad = [](std::string_view why) {
    return fail(ErrorKind::kProtocol, fmt::format("packed devices {}", why));
  };
  if (body.size() <= kPackedHeader) return bad("are too short");
  const auto codec = get<std::uint32_t>(body.data());
  PackedDevices devices;
  devices.size = get<std::uint32_t>(body.data() + 4);
  if (codec > 0xff) return bad("name no codec");
  if (devices.size == 0 || devices.size > kMaxPackedDevices) return bad("announce a wrong size");
  devices.codec = static_cast<std::uint8_t>(codec);
  const Bytes packed = body.subspan(kPackedHeader);
  devices.bytes.assign(packed.begin(), packed.end());
  return devices;
}

}  // namespace godwit::wire
