// nlohmann's library, with its exceptions off and its freedom bounded.
#include "wire/json_fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "wire/limits.h"

namespace godwit::wire {
namespace {

using nlohmann::json;

tl::unexpected<Error> bad(std::string_view what) {
  return fail(ErrorKind::kProtocol, fmt::format("malformed JSON: {}", what));
}

/// How deep brackets nest, without building anything; text that is not JSON gives any number.
std::size_t depth_of(std::string_view text) {
  std::size_t depth = 0;
  std::size_t deepest = 0;
  bool quoted = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      deepest = std::max(deepest, ++depth);
    } else if ((c == '}' || c == ']') && depth > 0) {
      --depth;
    }
  }
  return deepest;
}

Result<const json*> field(const json& object, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end()) return bad(fmt::format("'{}' is missing", key));
  return &*found;
}

}  // namespace

Result<json> parse_object(std::string_view text) {
  // The library takes a NUL for the end of its input, and would never look at what comes behind.
  if (text.find('\0') != std::string_view::npos) return bad("a NUL byte");
  if (depth_of(text) > kMaxJsonDepth) return bad(fmt::format("nested more than {} deep", kMaxJsonDepth));
  json value = json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!value.is_object()) return bad("this is not a JSON object");
  return value;
}

std::string dump(const json& value) {
  return value.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::string clip(std::string_view text, std::size_t limit) {
  // Bytes that are not UTF-8 grow when they are replaced, so that comes first.
  const json clean = json::parse(dump(json(std::string(text))), nullptr, /*allow_exceptions=*/false);
  std::string result = clean.get<std::string>();
  if (result.size() <= limit) return result;
  const auto continues = [&](std::size_t at) { return (static_cast<unsigned char>(result[at]) & 0xc0) == 0x80; };
  std::size_t end = limit;
  while (end > 0 && continues(end)) --end;
  result.resize(end);
  return result;
}

Result<std::string> text_field(const json& object, const std::string& key, std::size_t limit) {
  const json* value = TRY(field(object, key));
  if (!value->is_string()) return bad(fmt::format("'{}' is not a string", key));
  const auto& text = value->get_ref<const std::string&>();
  if (text.size() > limit)
    return bad(fmt::format("'{}' has {} bytes, at most {} are allowed", key, text.size(), limit));
  return text;
}

Result<std::uint64_t> number_field(const json& object, const std::string& key, std::uint64_t limit) {
  const json* value = TRY(field(object, key));
  if (!value->is_number_unsigned()) return bad(fmt::format("'{}' is not a whole number from 0 up", key));
  const auto number = value->get<std::uint64_t>();
  if (number > limit) return bad(fmt::format("'{}' is {}, at most {} is allowed", key, number, limit));
  return number;
}

Result<bool> flag_field(const json& object, const std::string& key) {
  const auto found = object.find(key);
  if (found == object.end()) return false;
  if (!found->is_boolean()) return bad(fmt::format("'{}' is neither true nor false", key));
  return found->get<bool>();
}

Result<const json*> object_field(const json& object, const std::string& key, std::size_t limit) {
  const json* value = TRY(field(object, key));
  if (!value->is_object()) return bad(fmt::format("'{}' is not an object", key));
  if (value->size() > limit) return bad(fmt::format("'{}' has {} entries, at most {}", key, value->size(), limit));
  return value;
}

Result<const json*> array_field(const json& object, const std::string& key, std::size_t limit) {
  const json* value = TRY(field(object, key));
  if (!value->is_array()) return bad(fmt::format("'{}' is not an array", key));
  if (value->size() > limit) return bad(fmt::format("'{}' has {} entries, at most {}", key, value->size(), limit));
  return value;
}

Result<std::string> text_field_or(const json& object, const std::string& key, std::size_t limit,
                                  std::string otherwise) {
  if (!object.contains(key)) return otherwise;
  return text_field(object, key, limit);
}

Result<std::uint64_t> number_field_or(const json& object, const std::string& key, std::uint64_t limit,
                                      std::uint64_t otherwise) {
  if (!object.contains(key)) return otherwise;
  return number_field(object, key, limit);
}

Result<bool> flag_field_or(const json& object, const std::string& key, bool otherwise) {
  const auto found = object.find(key);
  if (found == object.end()) return otherwise;
  if (!found->is_boolean()) return bad(fmt::format("'{}' is neither true nor false", key));
  return found->get<bool>();
}

Result<const json*> object_field_if(const json& object, const std::string& key, std::size_t limit) {
  if (!object.contains(key)) return nullptr;
  return object_field(object, key, limit);
}

Result<const json*> array_field_if(const json& object, const std::string& key, std::size_t limit) {
  if (!object.contains(key)) return nullptr;
  return array_field(object, key, limit);
}

}  // namespace godwit::wire
