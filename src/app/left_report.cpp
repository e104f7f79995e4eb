#include "app/left_report.h"

#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "app/report_json.h"
#include "base/migration_id.h"

namespace godwit {

namespace {

namespace fs = std::filesystem;

constexpr auto kKeptFor = std::chrono::hours(7 * 24);
constexpr std::string_view kLeftBeginning = "move-";
constexpr std::string_view kLeftEnding = ".json";

void remove_old_reports(const std::string& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kLeftBeginning) || !name.ends_with(kLeftEnding)) continue;
    const auto written = entry.last_write_time(ignored);
    if (!ignored && fs::file_time_type::clock::now() - written > kKeptFor) fs::remove(entry.path(), ignored);
  }
}

}  // namespace

std::string left_report_path(const std::string& folder, const std::string& id) {
  return fmt::format("{}/{}{}{}", folder, kLeftBeginning, id, kLeftEnding);
}

Status leave_report(const SinkReport& report, const std::string& folder) {
  // From a peer: it becomes a file's name.
  if (!is_migration_id(report.id)) return {};
  remove_old_reports(folder);
  return write_report_json(report, left_report_path(folder, report.id));
}

}  // namespace godwit
