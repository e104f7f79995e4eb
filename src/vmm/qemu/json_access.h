// Fields of QEMU's answers, read without exceptions: what is missing or of another type reads as empty.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "vmm/qemu/qmp.h"

namespace godwit::qemu {

std::string text_at(const Json& object, std::string_view key);
std::uint64_t number_at(const Json& object, std::string_view key);
bool bool_at(const Json& object, std::string_view key);
/// The member itself; a null value if there is none.
const Json& member(const Json& object, std::string_view key);

/// The command's answer if it is an array, else kProtocol.
Result<Json> query_array(Qmp& qmp, std::string_view command);
/// A QOM property that is a text; empty if the object has no such property.
Result<std::string> qom_text(Qmp& qmp, std::string_view path, std::string_view property);

/// The answer, or null where this QEMU does not know the command or the property.
Result<Json> if_known(Result<Json> answer);

}  // namespace godwit::qemu
