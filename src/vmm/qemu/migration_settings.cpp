#include "vmm/qemu/migration_settings.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <thread>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::string_view kIgnoreShared = "x-ignore-shared";
// QEMU counts a migration as under way for a moment longer than it says.
constexpr Duration kRestorePatience = std::chrono::seconds(5);

/// Both are objects of name to value.
struct Values {
  Json capabilities = Json::object();
  Json parameters = Json::object();

  std::string text() const { return Json{{"capabilities", capabilities}, {"parameters", parameters}}.dump(); }
};

Result<Json> query_capabilities(Qmp& qmp) {
  Json values = Json::object();
  const Json present = TRY(query_array(qmp, "query-migrate-capabilities"));
  for (const Json& one : present) values[text_at(one, "capability")] = bool_at(one, "state");
  return values;
}

/// Only what differs: QEMU checks each capability that it is given, and some cannot be set at all.
Status set_capabilities(Qmp& qmp, const Json& wanted) {
  const Json present = TRY(query_capabilities(qmp));
  Json change = Json::array();
  for (const auto& [name, state] : wanted.items()) {
    const Json& now = member(present, name);
    if (!now.is_null() && now != state) change.push_back(Json{{"capability", name}, {"state", state}});
  }
  if (change.empty()) return {};
  TRY(qmp.execute("migrate-set-capabilities", Json{{"capabilities", change}}));
  return {};
}

Status set_parameters(Qmp& qmp, const Json& wanted) {
  const Json present = TRY(qmp.execute("query-migrate-parameters"));
  Json change = Json::object();
  for (const auto& [name, value] : wanted.items()) {
    const Json& now = member(present, name);
    if (!now.is_null() && now != value) change[name] = value;
  }
  if (change.empty()) return {};
  TRY(qmp.execute("migrate-set-parameters", change));
  return {};
}

/// The parameters first: QEMU takes them at any time.
Status put_back(Qmp& qmp, const Values& before) {
  const Status parameters = set_parameters(qmp, before.parameters);
  const auto deadline = steady_clock::now() + kRestorePatience;
  Status capabilities = set_capabilities(qmp, before.capabilities);
  while (!capabilities && capabilities.error().kind == ErrorKind::kHypervisor && steady_clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(5));
    capabilities = set_capabilities(qmp, before.capabilities);
  }
  if (!capabilities) return capabilities;
  return parameters;
}

/// Nothing if the text is not one of ours.
std::optional<Values> parse_values(std::string_view text) {
  const Json values = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  const Json& capabilities = member(values, "capabilities");
  const Json& parameters = member(values, "parameters");
  if (!capabilities.is_object() || !parameters.is_object()) return std::nullopt;
  return Values{capabilities, parameters};
}

}  // namespace

Status MigrationSettings::restore() {
  if (put_back_) return {};
  TRY(restore_settings(qmp_, before_));
  put_back_ = true;
  record_.settings_put_back();
  return {};
}

Result<std::unique_ptr<MigrationSettings>> MigrationSettings::apply(Qmp& qmp, const std::set<std::string>& capabilities,
                                                                    const Json& parameters, VmRecord& record) {
  Values before;
  Json wanted = Json::object();
  const Json present = TRY(query_capabilities(qmp));
  for (const auto& [name, state] : present.items()) {
    wanted[name] = capabilities.contains(name);
    if (capabilities.contains(name) || state == true) before.capabilities[name] = state;
  }
  for (const auto& name : capabilities) {
    if (!present.contains(name)) {
      return fail(ErrorKind::kUnsupported, fmt::format("this QEMU lacks the migration capability '{}'", name));
    }
  }
  const Json values = TRY(qmp.execute("query-migrate-parameters"));
  for (const auto& [name, value] : parameters.items()) {
    const Json& old = member(values, name);
    if (!old.is_null()) before.parameters[name] = old;  // one that this version does not know has its fixed meaning
  }
  std::string text = before.text();
  TRY(record.keep_settings(text));
  std::unique_ptr<MigrationSettings> settings(new MigrationSettings(qmp, std::move(text), record));
  Status done = set_capabilities(qmp, wanted);
  if (done) done = set_parameters(qmp, parameters);
  if (!done) {
    (void)settings->restore();
    return fail(std::move(done).error());
  }
  return settings;
}

Status restore_settings(Qmp& qmp, std::string_view recorded) {
  const auto values = parse_values(recorded);
  if (!values) {
    return fail(ErrorKind::kProtocol, "the journal's settings are not in the form of this version of Godwit");
  }
  return put_back(qmp, *values);
}

Result<bool> ignores_shared(Qmp& qmp) {
  const Json present = TRY(query_capabilities(qmp));
  return bool_at(present, kIgnoreShared);
}

Result<bool> turn_off_ignore_shared(Qmp& qmp) {
  const bool on = TRY(ignores_shared(qmp));
  if (!on) return false;
  TRY(set_capabilities(qmp, Json{{kIgnoreShared, false}}));
  return true;
}

}  // namespace godwit::qemu
