#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "app/report_json.h"
#include "app/report_text.h"
#include "base/units.h"

namespace godwit::report_test {
namespace {

using namespace std::chrono_literals;
using Json = nlohmann::json;

Report moved() {
  Report r;
  r.outcome = Outcome::kDone;
  r.id = "3f2a9c01d4e7";
  r.commit_to_resume = 17ms;
  r.vm_name = "vm1";
  r.source_version = "7.2.22";
  r.sink_version = "10.0.2";
  r.security = "TLS 1.3, AES-256-GCM, shared key 'tests'";
  r.codec = "auto";
  r.codecs = {{"raw", 3, 12 * kMiB, 12 * kMiB}, {"zstd:1", 7, 1800 * kMiB, 900 * kMiB}};
  r.lanes = 2;
  r.kernels = "avx512";
  r.total = 12345ms;
  r.pause = 31234us;
  r.max_downtime = 50ms;
  r.ledger = {{"last harvest", 0, 812}, {"last pages", 812, 2210}, {"devices saved and loaded", 900, 30100}};
  r.ram_bytes = 4 * kGiB;
  r.pages_data = 101;
  r.pages_same_fill = 110;
  r.pages_copied = 111;
  r.pages_delta = 112;
  r.pages_unchanged = 113;
  r.pages_zero = 102;
  r.pages_skipped = 103;
  r.pages_free = 109;
  r.free_pages = "found";
  r.pages_resent = 104;
  r.pages_in_pause = 105;
  r.pages_discarded = 106;
  r.least_share = 0.25;
  r.slowed_for = std::chrono::microseconds(119);
  r.outages = 2;
  r.outages_lasted = std::chrono::milliseconds(12'500);
  r.postcopy = true;
  r.pages_missing = 116;
  r.pages_asked_for = 117;
  r.pages_urgent = 118;
  r.bytes_raw = 12 * kMiB;
  r.bytes_compressed = 900 * kMiB;
  r.bytes_before_compression = 1800 * kMiB;
  r.bytes_lanes = 912 * kMiB;
  r.bytes_control = 113 * kKiB;
  r.bytes_devices = 110 * kKiB;
  r.bytes_devices_in_pause = 100 * kKiB;
  r.blocks_not_encoded = 114;
  r.encoders_given_up = 115;
  r.encoding_threads = 3;
  r.harvests = 12;
  r.hypervisor_ram_bytes = 108;
  r.source_cpu = 3200ms;
  r.sink_cpu = 1100ms;
  r.source_peak_memory = 34 * kMiB;
  r.sink_peak_memory = 20 * kMiB;
  return r;
}

std::size_t counters_in_reports() {
  return static_cast<std::size_t>(
      std::ranges::count_if(LaneSums::kAll, [](const auto& counter) { return !counter.key.empty(); }));
}

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in:\n" << text;
}

TEST(ReportText, SaysWhatTheMoveCost) {
  const std::string text = render_report(moved());
  for (const char* part :
       {"done: the VM runs at the destination", "vm1, QEMU 7.2.22 to 10.0.2", "12.3 s",
        "31.2 ms (asked for at most 50 ms)", "4 GiB: pages 101 sent, 102 zero, 103 never sent",
        "of those 104 again, 105 in the pause; 106 given back", "lanes 912 MiB, control 113 KiB (devices 110 KiB)",
        "raw 12 MiB, compressed 900 MiB from 1.76 GiB (ratio 2.00)",
        "2 lanes and 3 encoding threads, auto, avx512 kernels, 12 harvests",
        "blocks not encoded: 114, encoders given up: 115", "source 3.2 s, destination 1.1 s",
        "source 34 MiB, destination 20 MiB", "108 B of RAM that QEMU wrote"}) {
    expect_contains(text, part);
  }
}

TEST(ReportText, NamesTheAcceleratorAndAModelAsOne) {
  Report report = moved();
  EXPECT_EQ(render_report(report).find("encoded by"), std::string::npos);
  report.accelerator = AcceleratorReport{
      .facts = {.name = "qat", .library = "libqatzip.so.3", .model = "software", .devices = 2, .instances = 8},
      .use = {.blocks = 12,
              .bytes_before = 3 * kMiB,
              .bytes_after = kMiB,
              .busy = 4,
              .failed = 5,
              .in_place = 6,
              .changed = 7,
              .given_up = "gone"}};
  const std::string text = render_report(report);
  expect_contains(text,
                  "qat, a MODEL and no device: software, 2 devices, 8 instances, copied from guest RAM for 6 blocks, 7 "
                  "more written to meanwhile (libqatzip.so.3)");
  expect_contains(text, "12 blocks to 1 MiB by it; 4 when it was busy, 5 failed");
  expect_contains(text, "given up: gone");
  const Json json = Json::parse(report_json(report)).at("encoding_device");
  EXPECT_EQ(json.at("model"), "software");
  EXPECT_EQ(json.at("blocks"), 12);
  EXPECT_EQ(json.at("in_place"), 6);
  EXPECT_EQ(json.at("changed"), 7);
  report.accelerator->facts.model.clear();
  EXPECT_EQ(render_report(report).find("MODEL"), std::string::npos);
  EXPECT_TRUE(Json::parse(report_json(report)).at("encoding_device").at("model").is_null());
}

TEST(ReportText, SaysWhyTheAcceleratorIsNotUsed) {
  Report report = moved();
  report.why_no_accelerator = "qat is not used, and CPUs encode (auto): no device";
  expect_contains(render_report(report), "CPUs: qat is not used, and CPUs encode (auto): no device");
  EXPECT_TRUE(Json::parse(report_json(report)).at("encoding_device").is_null());
}

TEST(ReportText, AlignsTheLedger) {
  std::istringstream lines(render_report(moved()));
  std::vector<std::string> ledger;
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(line.size(), 100U) << line;
    EXPECT_FALSE(line.empty() || line.ends_with(' ')) << "'" << line << "'";
    if (line.find("last ") != std::string::npos || line.find("took us") != std::string::npos ||
        line.find("devices saved") != std::string::npos) {
      ledger.push_back(line);
    }
  }
  ASSERT_EQ(ledger.size(), 4U);
  for (const std::string& line : ledger) EXPECT_EQ(line.size(), ledger[0].size()) << line;
  expect_contains(ledger[2], " 1398");
  expect_contains(ledger[3], " 29200");
}

TEST(ReportText, LeavesOutThePauseThatNeverWas) {
  Report failed;
  failed.error = Error{ErrorKind::kRefused, "no", 0};
  const std::string text = render_report(failed);
  expect_contains(text, "source-runs: the VM is at the source as it was");
  EXPECT_EQ(text.find("\npause"), std::string::npos) << text;
  EXPECT_EQ(text.find("\nengine"), std::string::npos) << text;
  expect_contains(text, "QEMU ? to ?");
  expect_contains(text, "(without a name)");
}

TEST(ReportText, SaysNothingOfTroubleThatNeverWas) {
  Report r = moved();
  r.blocks_not_encoded = r.encoders_given_up = 0;
  const std::string text = render_report(r);
  EXPECT_EQ(text.find("not encoded"), std::string::npos) << text;
  EXPECT_EQ(text.find("given up"), std::string::npos) << text;
}

TEST(ReportText, KeepsAHostileNameOffTheTerminal) {
  Report r = moved();
  r.vm_name = "vm\x1b[2J\nx";
  const std::string text = render_report(r);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  expect_contains(text, "vm?[2J?x");
}

TEST(ReportJson, CanBeReadBackFieldByField) {
  const Json json = Json::parse(report_json(moved()));
  EXPECT_EQ(json.at("type"), "report");
  EXPECT_EQ(json.at("id"), "3f2a9c01d4e7");
  EXPECT_EQ(json.at("commit_to_resume_us"), 17'000);
  EXPECT_EQ(json.at("outcome"), "done");
  EXPECT_TRUE(json.at("error").is_null());
  EXPECT_EQ(json.at("vm_name"), "vm1");
  EXPECT_EQ(json.at("source_version"), "7.2.22");
  EXPECT_EQ(json.at("sink_version"), "10.0.2");
  EXPECT_EQ(json.at("security"), "TLS 1.3, AES-256-GCM, shared key 'tests'");
  EXPECT_TRUE(Json::parse(report_json(Report{})).at("security").is_null()) << "nothing protected it";
  EXPECT_EQ(json.at("codec"), "auto");
  ASSERT_EQ(json.at("codecs").size(), 2U);
  EXPECT_EQ(json.at("codecs").at(1),
            (Json{{"codec", "zstd:1"}, {"blocks", 7}, {"bytes_before", 1800 * kMiB}, {"bytes_after", 900 * kMiB}}));
  EXPECT_EQ(json.at("lanes"), 2);
  EXPECT_EQ(json.at("encoding_threads"), 3);
  EXPECT_EQ(json.at("kernels"), "avx512");
  EXPECT_EQ(json.at("total_us"), 12'345'000);
  EXPECT_EQ(json.at("pause_us"), 31'234);
  EXPECT_EQ(json.at("max_downtime_us"), 50'000);
  ASSERT_EQ(json.at("ledger").size(), 3U);
  EXPECT_EQ(json.at("ledger").at(1), (Json{{"name", "last pages"}, {"begin_us", 812}, {"end_us", 2210}}));
  EXPECT_EQ(json.at("ram_bytes"), 4 * kGiB);
  EXPECT_EQ(json.at("pages_data"), 101);
  EXPECT_EQ(json.at("pages_same_fill"), 110);
  EXPECT_EQ(json.at("pages_copied"), 111);
  EXPECT_EQ(json.at("pages_delta"), 112);
  EXPECT_EQ(json.at("pages_unchanged"), 113);
  EXPECT_EQ(json.at("pages_zero"), 102);
  EXPECT_EQ(json.at("pages_skipped"), 103);
  EXPECT_EQ(json.at("pages_free"), 109);
  EXPECT_EQ(json.at("free_pages"), "found");
  EXPECT_EQ(json.at("pages_resent"), 104);
  EXPECT_EQ(json.at("pages_in_pause"), 105);
  EXPECT_EQ(json.at("pages_discarded"), 106);
  EXPECT_EQ(json.at("least_share"), 0.25);
  EXPECT_EQ(json.at("slowed_for_us"), 119);
  EXPECT_EQ(json.at("outages"), 2);
  EXPECT_EQ(json.at("outages_us"), 12'500'000);
  EXPECT_EQ(json.at("postcopy"), true);
  EXPECT_EQ(json.at("pages_missing"), 116);
  EXPECT_EQ(json.at("pages_asked_for"), 117);
  EXPECT_EQ(json.at("pages_urgent"), 118);
  EXPECT_EQ(json.at("bytes_raw"), 12 * kMiB);
  EXPECT_EQ(json.at("bytes_compressed"), 900 * kMiB);
  EXPECT_EQ(json.at("bytes_before_compression"), 1800 * kMiB);
  EXPECT_EQ(json.at("bytes_lanes"), 912 * kMiB);
  EXPECT_EQ(json.at("bytes_control"), 113 * kKiB);
  EXPECT_EQ(json.at("bytes_devices"), 110 * kKiB);
  EXPECT_EQ(json.at("bytes_devices_in_pause"), 100 * kKiB);
  EXPECT_EQ(json.at("paused"), false);
  EXPECT_EQ(json.at("harvests"), 12);
  EXPECT_EQ(json.at("hypervisor_ram_bytes"), 108);
  EXPECT_EQ(json.at("source_cpu_us"), 3'200'000);
  EXPECT_EQ(json.at("sink_cpu_us"), 1'100'000);
  EXPECT_EQ(json.at("source_peak_memory"), 34 * kMiB);
  EXPECT_EQ(json.at("sink_peak_memory"), 20 * kMiB);
  EXPECT_EQ(json.at("blocks_not_encoded"), 114);
  EXPECT_EQ(json.at("encoders_given_up"), 115);
  EXPECT_TRUE(json.at("receiver").is_null()) << "none has come back";
  EXPECT_EQ(json.size(), 51U + counters_in_reports()) << "a field that this test does not know";
}

TEST(ReportJson, HasTheReceiversReportAsItCame) {
  const Json json = Json::parse(report_json(moved(), R"({"type":"sink-report","outcome":"done"})"));
  EXPECT_EQ(json.at("receiver"), (Json{{"type", "sink-report"}, {"outcome", "done"}}));
  EXPECT_EQ(json.at("outcome"), "done");
  for (const char* none : {"", "{", "7", "[]", "null", "{}{}"}) {
    EXPECT_TRUE(Json::parse(report_json(moved(), none)).at("receiver").is_null()) << none;
  }
}

TEST(ReportJson, HasEveryCounterOfTheLanes) {
  Report r;
  std::uint64_t next = 1;
  for (const auto& counter : LaneSums::kAll) r.*counter.count = next++;
  const Json json = Json::parse(report_json(r));
  for (const auto& counter : LaneSums::kAll) {
    if (counter.key.empty()) continue;
    EXPECT_EQ(json.at(counter.key), r.*counter.count) << counter.key;
  }
}

TEST(ReportJson, CarriesTheErrorAndSurvivesBytesThatAreNoText) {
  Report r;
  r.outcome = Outcome::kSourceStopped;
  r.vm_name = "vm\xff\xfe";
  r.error = Error{ErrorKind::kPeerLost, "line\nbreak \"quoted\" \xc3", 104};
  const Json json = Json::parse(report_json(r));
  EXPECT_EQ(json.at("outcome"), "source-stopped");
  EXPECT_EQ(json.at("error").at("kind"), "peer-lost");
  EXPECT_TRUE(json.at("error").at("message").get<std::string>().starts_with("line\nbreak \"quoted\" "));
  EXPECT_TRUE(json.at("ledger").is_array());
}

TEST(SinkReportText, SaysWhatBecameOfTheVm) {
  SinkReport r;
  r.outcome = Outcome::kDone;
  r.vm_name = "vm1";
  r.source_version = "7.2.22";
  r.bytes_received = kGiB;
  r.commit_to_resume = 600us;
  expect_contains(render_report(r), "the VM runs here");
  expect_contains(render_report(r), "vm1, from QEMU 7.2.22");
  expect_contains(render_report(r), "1 GiB received");
  expect_contains(render_report(r), "600 us after the commit");
  r.outcome = Outcome::kInDoubt;
  expect_contains(render_report(r), "does not run here");
}

TEST(SinkReportJson, CanBeReadBack) {
  SinkReport r;
  r.error = Error{ErrorKind::kTimedOut, "no source came", 0};
  r.bytes_received = 7;
  r.device_load = 3ms;
  const Json json = Json::parse(report_json(r));
  EXPECT_EQ(json.at("type"), "sink-report");
  EXPECT_TRUE(json.at("id").is_null());
  EXPECT_EQ(json.at("outcome"), "source-runs");
  EXPECT_EQ(json.at("error").at("kind"), "timed-out");
  EXPECT_EQ(json.at("bytes_received"), 7);
  EXPECT_EQ(json.at("device_load_us"), 3000);
  r.id = "3f2a9c01d4e7";
  EXPECT_EQ(Json::parse(report_json(r)).at("id"), "3f2a9c01d4e7");
}

TEST(ReportFile, ReplacesWhatWasThere) {
  std::string folder = (std::filesystem::temp_directory_path() / "godwit-report-XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/report.json";
  std::ofstream(path) << std::string(100000, 'x');
  ASSERT_TRUE(write_report_json(moved(), path).has_value());
  std::ifstream file(path);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  EXPECT_EQ(text, report_json(moved()));
  std::filesystem::remove_all(folder);
  const Status failed = write_report_json(moved(), path);
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().kind, ErrorKind::kNotFound);
  expect_contains(failed.error().message, path);
}

}  // namespace
}  // namespace godwit::report_test
