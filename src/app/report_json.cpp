#include "app/report_json.h"

#include <fcntl.h>
#include <unistd.h>

#include <nlohmann/json.hpp>

#include "base/unique_fd.h"

namespace godwit {

namespace {

using Json = nlohmann::ordered_json;

std::int64_t microseconds(Duration duration) noexcept {
  return std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
}

Json json_of(const std::optional<Error>& error) {
  if (!error) return nullptr;
  return Json{{"kind", name_of(error->kind)}, {"message", error->message}};
}

Json id_json(const std::string& id) {
  return id.empty() ? Json(nullptr) : Json(id);
}

Json security_json(const std::string& security) {
  return security.empty() ? Json(nullptr) : Json(security);
}

Json receiver_json(std::string_view text) {
  Json json = Json::parse(text, nullptr, false);
  return json.is_object() ? json : Json(nullptr);
}

Json json_of(const std::vector<LedgerEntry>& ledger) {
  Json list = Json::array();
  for (const LedgerEntry& entry : ledger) {
    list.push_back(Json{{"name", entry.name}, {"begin_us", entry.begin_us}, {"end_us", entry.end_us}});
  }
  return list;
}

Json json_of(const std::vector<CodecShare>& codecs) {
  Json list = Json::array();
  for (const CodecShare& share : codecs) {
    list.push_back(Json{{"codec", share.codec},
                        {"blocks", share.blocks},
                        {"bytes_before", share.bytes_before},
                        {"bytes_after", share.bytes_after}});
  }
  return list;
}

Json json_of(const std::optional<AcceleratorReport>& accelerator) {
  if (!accelerator) return nullptr;
  const auto& [facts, use] = *accelerator;
  return Json{{"name", facts.name},
              {"library", facts.library},
              {"model", facts.model.empty() ? Json() : Json(facts.model)},
              {"devices", facts.devices},
              {"instances", facts.instances},
              {"direct", facts.direct},
              {"blocks", use.blocks},
              {"bytes_before", use.bytes_before},
              {"bytes_after", use.bytes_after},
              {"busy", use.busy},
              {"failed", use.failed},
              {"in_place", use.in_place},
              {"changed", use.changed},
              {"given_up", use.given_up}};
}

/// Names come from a guest's configuration and messages from a peer: what is not UTF-8 in them is replaced.
std::string dumped(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

/// `how`: O_TRUNC or O_APPEND.
Status write_text(const std::string& text, const std::string& path, int how = O_TRUNC) {
  UniqueFd file;
  int fd = STDOUT_FILENO;
  if (path != "-") {
    file.reset(::open(path.c_str(), O_WRONLY | O_CREAT | how | O_CLOEXEC, 0644));
    if (!file) return fail_os("write the report to " + path);
    fd = file.get();
  }
  for (std::string_view rest = text; !rest.empty();) {
    const ssize_t written = ::write(fd, rest.data(), rest.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail_os("write the report to " + path);
    rest.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

}  // namespace

std::string report_json(const Report& report, std::string_view receiver) {
  Json json{{"type", "report"},
            {"id", id_json(report.id)},
            {"outcome", name_of(report.outcome)},
            {"error", json_of(report.error)},
            {"vm_name", report.vm_name},
            {"source_version", report.source_version},
            {"sink_version", report.sink_version},
            {"security", security_json(report.security)},
            {"codec", report.codec},
            {"codecs", json_of(report.codecs)},
            {"lanes", report.lanes},
            {"encoding_threads", report.encoding_threads},
            {"encoding_device", json_of(report.accelerator)},
            {"why_no_encoding_device", report.why_no_accelerator},
            {"kernels", report.kernels},
            {"total_us", microseconds(report.total)},
            {"pause_us", microseconds(report.pause)},
            {"max_downtime_us", microseconds(report.max_downtime)},
            {"paused", report.paused},
            {"ledger", json_of(report.ledger)},
            {"commit_to_resume_us", microseconds(report.commit_to_resume)},
            {"ram_bytes", report.ram_bytes}};
  for (const auto& counter : LaneSums::kAll) {
    if (!counter.key.empty()) json[counter.key] = report.*counter.count;
  }
  json.update(Json{{"pages_skipped", report.pages_skipped},
                   {"pages_free", report.pages_free},
                   {"free_pages", report.free_pages},
                   {"pages_in_pause", report.pages_in_pause},
                   {"pages_discarded", report.pages_discarded},
                   {"least_share", report.least_share},
                   {"slowed_for_us", microseconds(report.slowed_for)},
                   {"outages", report.outages},
                   {"outages_us", microseconds(report.outages_lasted)},
                   {"postcopy", report.postcopy},
                   {"pages_missing", report.pages_missing},
                   {"pages_asked_for", report.pages_asked_for},
                   {"pages_urgent", report.pages_urgent},
                   {"bytes_raw", report.bytes_raw},
                   {"bytes_compressed", report.bytes_compressed},
                   {"bytes_before_compression", report.bytes_before_compression},
                   {"bytes_lanes", report.bytes_lanes},
                   {"bytes_control", report.bytes_control},
                   {"devices", report.devices},
                   {"why_stream", report.why_stream},
                   {"bytes_devices", report.bytes_devices},
                   {"bytes_devices_in_pause", report.bytes_devices_in_pause},
                   {"harvests", report.harvests},
                   {"hypervisor_ram_bytes", report.hypervisor_ram_bytes},
                   {"source_cpu_us", microseconds(report.source_cpu)},
                   {"sink_cpu_us", microseconds(report.sink_cpu)},
                   {"source_peak_memory", report.source_peak_memory},
                   {"sink_peak_memory", report.sink_peak_memory},
                   {"receiver", receiver_json(receiver)}});
  return dumped(json);
}

std::string report_json(const SinkReport& report) {
  return dumped(Json{{"type", "sink-report"},
                     {"id", id_json(report.id)},
                     {"outcome", name_of(report.outcome)},
                     {"error", json_of(report.error)},
                     {"vm_name", report.vm_name},
                     {"source_version", report.source_version},
                     {"security", security_json(report.security)},
                     {"total_us", microseconds(report.total)},
                     {"changed", report.changed},
                     {"paused", report.paused},
                     {"bytes_received", report.bytes_received},
                     {"commit_to_resume_us", microseconds(report.commit_to_resume)},
                     {"device_load_us", microseconds(report.device_load)},
                     {"decoding_device", json_of(report.accelerator)},
                     {"cpu_us", microseconds(report.cpu)},
                     {"peak_memory", report.peak_memory}});
}

Status write_report_json(const Report& report, const std::string& path, std::string_view receiver) {
  return write_text(report_json(report, receiver), path);
}

Status write_report_json(const SinkReport& report, const std::string& path) {
  return write_text(report_json(report), path);
}

Status append_report_json(const SinkReport& report, const std::string& path) {
  return write_text(Json::parse(report_json(report)).dump() + "\n", path, O_APPEND);
}

}  // namespace godwit
