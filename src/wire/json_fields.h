// Reads JSON that a peer wrote: every field by name, its type and limit checked. Inside this folder only.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/result.h"

namespace godwit::wire {

/// One object, nested at most kMaxJsonDepth deep. All errors here are kProtocol and name the key.
Result<nlohmann::json> parse_object(std::string_view text);
/// Compact, keys sorted; bytes that are not UTF-8 become U+FFFD.
std::string dump(const nlohmann::json& value);
/// `text` as valid UTF-8 of at most `limit` bytes, cut at the end.
std::string clip(std::string_view text, std::size_t limit);

Result<std::string> text_field(const nlohmann::json& object, const std::string& key, std::size_t limit);
Result<std::uint64_t> number_field(const nlohmann::json& object, const std::string& key, std::uint64_t limit);
/// A later key: false where it is missing.
Result<bool> flag_field(const nlohmann::json& object, const std::string& key);
/// The field itself, which is an object or an array of at most `limit` entries. Valid as long as `object`.
/// False where the key is missing: for keys that came after the first program of their version.
Result<bool> flag_field(const nlohmann::json& object, const std::string& key);
Result<const nlohmann::json*> object_field(const nlohmann::json& object, const std::string& key, std::size_t limit);
Result<const nlohmann::json*> array_field(const nlohmann::json& object, const std::string& key, std::size_t limit);

/// For keys that have a default: the field if it is there, checked as above, else the default.
Result<std::string> text_field_or(const nlohmann::json& object, const std::string& key, std::size_t limit,
                                  std::string otherwise);
Result<std::uint64_t> number_field_or(const nlohmann::json& object, const std::string& key, std::uint64_t limit,
                                      std::uint64_t otherwise);
Result<bool> flag_field_or(const nlohmann::json& object, const std::string& key, bool otherwise);
/// Null where there is none.
Result<const nlohmann::json*> object_field_if(const nlohmann::json& object, const std::string& key, std::size_t limit);
Result<const nlohmann::json*> array_field_if(const nlohmann::json& object, const std::string& key, std::size_t limit);

/// A number of type T or smaller.
template <typename T>
Result<T> number_field(const nlohmann::json& object, const std::string& key) {
  return static_cast<T>(TRY(number_field(object, key, std::numeric_limits<T>::max())));
}

}  // namespace godwit::wire
