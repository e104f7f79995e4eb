// What the log of a real move says, and that a log which cannot be had is said before anything begins.
#include <algorithm>
#include <fstream>
#include <vector>

#include "tests/integration/scene.h"
#include "tests/support/godwit_temp_folder.h"

namespace godwit::testing {
namespace {

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  std::vector<std::string> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  return lines;
}

std::string text_of(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

/// Whether these events come in this order, each as the end or a part of a line.
bool in_order(const std::vector<std::string>& lines, const std::vector<std::string>& events) {
  std::size_t found = 0;
  for (const auto& line : lines) {
    if (found < events.size() && line.find(" event=" + events[found]) != std::string::npos) ++found;
  }
  return found == events.size();
}

GodwitOptions logging_to(const std::filesystem::path& path) {
  GodwitOptions options;
  options.arguments = {"--log-file", path.string()};
  return options;
}

TEST(Log, TellsOfAMoveStepByStepOnBothSides) {
  ASSIGN_OR_FAIL(folder, TempFolder::make(std::filesystem::temp_directory_path()));
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  GodwitOptions receiving = logging_to(folder.path() / "sink.log");
  receiving.arguments.insert(receiving.arguments.end(), {"--report", "@REPORT"});
  ASSERT_OK(scene->receive(receiving));
  ASSERT_OK(scene->send(logging_to(folder.path() / "source.log")));
  ASSERT_OK(scene->expect_moved());

  const auto source = lines_of(folder.path() / "source.log");
  EXPECT_TRUE(
      in_order(source, {"start program=", "milestone name=attached", "vm name=", "milestone name=welcomed",
                        "phase name=copying", "milestone name=stopped", "milestone name=prepared",
                        "milestone name=committed", "pause-step name=stopping", "end outcome=done", "exit code=0"}))
      << text_of(source);
  ASSIGN_OR_FAIL(report, scene->sender().report());
  const std::string id = report.value("id", "");
  EXPECT_EQ(id.size(), 12U) << report;
  for (const auto& line : source) {
    EXPECT_TRUE(line.find(" id=" + id + " elapsed_us=") != std::string::npos || line.ends_with("event=exit code=0"))
        << line;
  }
  EXPECT_GT(report.value("commit_to_resume_us", 0), 0) << report;
  ASSIGN_OR_FAIL(received, scene->receiver().report());
  EXPECT_EQ(received.value("id", ""), id) << received;

  const auto sink = lines_of(folder.path() / "sink.log");
  for (const std::string event : {"milestone name=welcomed", "guest-started", "end outcome=done"}) {
    EXPECT_TRUE(std::ranges::any_of(sink,
                                    [&](const std::string& line) {
                                      return line.find(" id=" + id + " ") != std::string::npos &&
                                             line.find(" event=" + event) != std::string::npos;
                                    }))
        << event << "\n"
        << text_of(sink);
  }
  EXPECT_TRUE(
      in_order(sink, {"start program=", "listening at=tcp", "milestone name=greeted", "milestone name=committed",
                      "milestone name=resumed", "guest-started took_us=", "end outcome=done", "exit code=0"}))
      << text_of(sink);
}

TEST(Log, ThatCannotBeOpenedIsSaidBeforeAnythingBegins) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSERT_OK(scene->send_to("tcp://127.0.0.1:1", logging_to("/no/such/folder/godwit.log")));
  ASSIGN_OR_FAIL(ended, scene->sender().wait(seconds(20)));
  EXPECT_EQ(ended.code, 2);
  EXPECT_EQ(scene->sender().errors(), "--log-file: open /no/such/folder/godwit.log: No such file or directory\n");
  EXPECT_EQ(scene->source().status().value_or("?"), "running");
  ASSERT_OK(scene->expect_nothing_left());
}

}  // namespace
}  // namespace godwit::testing
