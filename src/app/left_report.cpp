#include "app/left_report.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string_view>
#include <system_error>

#include "app/report_json.h"
#include "base/migration_id.h"
#include "base/small_files.h"

namespace godwit {

namespace {

namespace fs = std::filesystem;

constexpr auto kKeptFor = std::chrono::hours(7 * 24);
constexpr std::string_view kLeftBeginning = "move-";
constexpr std::string_view kLeftEnding = ".json";
// More than any report has.
constexpr std::size_t kLargestReport = 64 * 1024;

/// The id in a file's name; nothing if it is not a report's.
std::optional<std::string> id_in(std::string_view name) {
  if (!name.starts_with(kLeftBeginning) || !name.ends_with(kLeftEnding)) return std::nullopt;
  if (name.size() < kLeftBeginning.size() + kLeftEnding.size()) return std::nullopt;
  name.remove_prefix(kLeftBeginning.size());
  name.remove_suffix(kLeftEnding.size());
  return is_migration_id(name) ? std::optional(std::string(name)) : std::nullopt;
}

std::string text_of_key(const nlohmann::json& json, const char* key) {
  if (!json.is_object()) return {};
  const auto found = json.find(key);
  return found != json.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::optional<LeftReport> read_left_report(const std::string& file, std::string id) {
  struct stat status {};
  if (::lstat(file.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  const auto text = read_whole_file(file, kLargestReport);
  if (!text) return std::nullopt;
  const auto json = nlohmann::json::parse(*text, nullptr, false);
  LeftReport report{.file = file,
                    .id = std::move(id),
                    .vm_name = text_of_key(json, "vm_name"),
                    .outcome = text_of_key(json, "outcome"),
                    .error = {},
                    .written = status.st_mtim.tv_sec};
  if (report.outcome.empty()) return std::nullopt;
  if (const auto error = json.find("error"); error != json.end()) report.error = text_of_key(*error, "message");
  return report;
}

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

std::vector<LeftReport> left_reports_in(const std::string& folder) {
  std::vector<LeftReport> reports;
  for (const std::string& name : names_in(folder)) {
    auto id = id_in(name);
    if (!id) continue;
    if (auto report = read_left_report(folder + "/" + name, std::move(*id))) reports.push_back(std::move(*report));
  }
  const auto is_newer = [](const LeftReport& a, const LeftReport& b) { return a.written > b.written; };
  std::stable_sort(reports.begin(), reports.end(), is_newer);
  return reports;
}

}  // namespace godwit
