#include "vmm/qemu/json_access.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace godwit::qemu {

const Json& member(const Json& object, std::string_view key) {
  static const Json kNothing;
  if (!object.is_object()) return kNothing;
  const auto found = object.find(key);
  return found == object.end() ? kNothing : *found;
}

std::string text_at(const Json& object, std::string_view key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

std::uint64_t number_at(const Json& object, std::string_view key) {
  const Json& value = member(object, key);
  return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
}

bool bool_at(const Json& object, std::string_view key) {
  const Json& value = member(object, key);
  return value.is_boolean() && value.get<bool>();
}

Result<Json> query_array(Qmp& qmp, std::string_view command) {
  Json answer = TRY(qmp.execute(command));
  if (!answer.is_array()) return fail(ErrorKind::kProtocol, fmt::format("{}: QEMU's answer is not a list", command));
  return answer;
}

Result<std::string> qom_text(Qmp& qmp, std::string_view path, std::string_view property) {
  auto answer = qmp.execute("qom-get", Json{{"path", path}, {"property", property}});
  if (!answer && answer.error().kind == ErrorKind::kHypervisor) return std::string();
  if (!answer) return fail(std::move(answer).error());
  return answer->is_string() ? answer->get<std::string>() : std::string();
}

Result<Json> if_known(Result<Json> answer) {
  const bool unknown =
      !answer && (answer.error().kind == ErrorKind::kHypervisor || answer.error().kind == ErrorKind::kUnsupported);
  if (unknown) return Json();
  return answer;
}

}  // namespace godwit::qemu
