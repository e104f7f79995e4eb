#include "vmm/qemu/migration_settings.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "vmm/qemu/json_access.h"

namespace godwit::qemu {
namespace {

/// What differed, in the form that the two set commands take.
class Settings final : public MigrationSettings {
 public:
  Settings(Qmp& qmp, Json capabilities, Json parameters)
      : qmp_(qmp), capabilities_(std::move(capabilities)), parameters_(std::move(parameters)) {}

  Status restore() override {
    if (!capabilities_.empty()) {
      TRY(qmp_.execute("migrate-set-capabilities", Json{{"capabilities", capabilities_}}));
      capabilities_.clear();
    }
    if (!parameters_.empty()) {
      TRY(qmp_.execute("migrate-set-parameters", parameters_));
      parameters_.clear();
    }
    return {};
  }

 private:
  Qmp& qmp_;
  Json capabilities_;
  Json parameters_;
};

Json capability(const std::string& name, bool on) {
  return Json{{"capability", name}, {"state", on}};
}

}  // namespace

Result<std::unique_ptr<MigrationSettings>> MigrationSettings::apply(Qmp& qmp, const std::set<std::string>& capabilities,
                                                                    const Json& parameters) {
  Json change = Json::array();
  Json before = Json::array();
  std::set<std::string> missing = capabilities;
  const Json present = TRY(query_array(qmp, "query-migrate-capabilities"));
  for (const Json& one : present) {
    const std::string name = text_at(one, "capability");
    const bool wanted = capabilities.contains(name);
    missing.erase(name);
    if (bool_at(one, "state") == wanted) continue;
    change.push_back(capability(name, wanted));
    before.push_back(capability(name, !wanted));
  }
  if (!missing.empty()) {
    return fail(ErrorKind::kUnsupported,
                fmt::format("this QEMU lacks the migration capability '{}'", *missing.begin()));
  }
  const Json values = TRY(qmp.execute("query-migrate-parameters"));
  Json values_before = Json::object();
  Json values_changed = Json::object();
  for (const auto& [name, value] : parameters.items()) {
    const Json& old = member(values, name);
    if (old.is_null() || old == value) continue;  // a parameter that this version does not know has its fixed meaning
    values_before[name] = old;
    values_changed[name] = value;
  }
  // From here on restore() undoes whatever was done.
  auto settings = std::make_unique<Settings>(qmp, std::move(before), std::move(values_before));
  Status done;
  if (!change.empty()) {
    auto set = qmp.execute("migrate-set-capabilities", Json{{"capabilities", change}});
    if (!set) done = fail(std::move(set).error());
  }
  if (done && !values_changed.empty()) {
    auto set = qmp.execute("migrate-set-parameters", values_changed);
    if (!set) done = fail(std::move(set).error());
  }
  if (!done) {
    (void)settings->restore();
    return fail(std::move(done).error());
  }
  return std::unique_ptr<MigrationSettings>(std::move(settings));
}

}  // namespace godwit::qemu
