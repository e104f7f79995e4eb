#include "postcopy/trace.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

namespace godwit {

namespace {

using nlohmann::json;

tl::unexpected<Error> not_there(std::string_view what) {
  return fail(ErrorKind::kRefused, fmt::format("QEMU is not as it was when its guest was let run: {}", what));
}

std::optional<std::uint64_t> number_in(const json& object, const char* key) {
  if (!object.is_object() || !object.contains(key) || !object[key].is_number_unsigned()) return std::nullopt;
  return object[key].get<std::uint64_t>();
}

Result<MissingRange> range_in(const json& object) {
  const auto address = number_in(object, "address");
  const auto length = number_in(object, "length");
  const auto page_size = number_in(object, "page_size");
  const auto first_chunk = number_in(object, "first_chunk");
  if (!address || !length || *length == 0 || !page_size || *page_size < kPageSize || !first_chunk ||
      !object.contains("name") || !object["name"].is_string()) {
    return fail(ErrorKind::kRefused, "what is on record of the guest's memory cannot be read");
  }
  return MissingRange{.name = object["name"],
                      .address = *address,
                      .length = *length,
                      .page_size = *page_size,
                      .first_chunk = ChunkIndex{static_cast<std::uint32_t>(*first_chunk)}};
}

/// Of a block that lies in a file: opens that, if it still is where it was.
Status find_file(const RemoteProcess& process, const std::vector<Mapping>& mappings, MissingRange& range,
                 std::uint64_t file_offset) {
  const auto holds = [&](const Mapping& m) { return m.start <= range.address && range.address < m.end; };
  const auto mapping = std::ranges::find_if(mappings, holds);
  if (mapping == mappings.end() || !mapping->shared || mapping->inode == 0 ||
      mapping->offset + (range.address - mapping->start) != file_offset) {
    return not_there(fmt::format("RAM block '{}' is not mapped as it was", range.name));
  }
  range.file = TRY(process.open_backing_file(*mapping));
  range.file_offset = file_offset;
  return {};
}

}  // namespace

std::string trace_of(const std::vector<MissingRange>& ranges, int userfaultfd) {
  json list = json::array();
  for (const auto& range : ranges) {
    list.push_back({{"name", range.name},
                    {"address", range.address},
                    {"length", range.length},
                    {"page_size", range.page_size},
                    {"first_chunk", range.first_chunk.value}});
    if (range.file) list.back()["file"] = range.file_offset;
  }
  return json{{"userfaultfd", userfaultfd}, {"ranges", std::move(list)}}.dump(-1, ' ', false,
                                                                              json::error_handler_t::replace);
}

Result<Traced> follow_trace(const RemoteProcess& process, std::string_view trace) {
  const json object = json::parse(trace, nullptr, /*allow_exceptions=*/false);
  const auto number = number_in(object, "userfaultfd");
  if (!number || !object.contains("ranges") || !object["ranges"].is_array()) {
    return fail(ErrorKind::kRefused, "what is on record of the guest's memory cannot be read");
  }
  Traced traced;
  const auto mappings = TRY(process.mappings());
  for (const json& each : object["ranges"]) {
    traced.ranges.push_back(TRY(range_in(each)));
    if (const auto offset = number_in(each, "file")) {
      TRY(find_file(process, mappings, traced.ranges.back(), *offset));
    }
  }
  auto userfault = take_remote_userfaultfd(process, static_cast<int>(*number));
  if (!userfault) return not_there(userfault.error().message);
  traced.userfault = *std::move(userfault);
  return traced;
}

}  // namespace godwit
