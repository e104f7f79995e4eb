#include "tests/integration/kills.h"

#include <fmt/format.h>

#include <algorithm>

namespace godwit::testing {
namespace {

constexpr seconds kEndLimit{90};

tl::unexpected<Error> otherwise(std::string what) {
  return fail(ErrorKind::kProtocol, std::move(what));
}

TestGodwit& engine_of(Scene& scene, Side side) {
  return side == Side::kSource ? scene.sender() : scene.receiver();
}

bool comes_before(const Kill& kill, const std::string& milestone) {
  const auto& all = milestones_of(kill.side);
  return std::ranges::find(all, kill.milestone) < std::ranges::find(all, milestone);
}

Status begin(Scene& scene, const Kill& kill, const std::string& action, const std::vector<std::string>& receive) {
  GodwitOptions receiver;
  GodwitOptions sender;
  (kill.side == Side::kSource ? sender : receiver) = failing_at(kill.milestone, action);
  receiver.arguments = receive;
  if (kill.by_stream) sender.arguments = {"--devices", "stream"};
  TRY(scene.receive(receiver));
  return scene.send(sender);
}

/// The one that was not killed.
Status other_engine_ends(Scene& scene, const Kill& kill) {
  if (kill.side == Side::kSink) {
    TRY_IN("godwit send", scene.sender().wait(kEndLimit));
    return {};
  }
  if (home_after(kill) == Home::kSink) {
    TRY_IN("godwit receive", scene.receiver().wait(kEndLimit));
    return {};
  }
  // Nothing reached the receiver, which waits for another sender.
  if (kill.milestone == "attached") TRY(scene.receiver().process().send_signal(SIGTERM));
  return scene.expect_receiver_ends();
}

Status has_settings(TestQemu& qemu, const Json& before, const std::string& whose) {
  const Json now = settings_of(qemu);
  if (now == before) return {};
  return otherwise(fmt::format("the {}'s settings differ: {}", whose, Json::diff(before, now).dump()));
}

}  // namespace

std::string name_of(const Kill& kill) {
  std::string text = fmt::format("{}_{}_{}{}", kill.side == Side::kSource ? "source" : "sink", kill.milestone,
                                 godwit::testing::name_of(kill.version), kill.by_stream ? "_by_stream" : "");
  std::ranges::replace_if(
      text, [](char c) { return c == '-' || c == '.'; }, '_');
  return text;
}

const std::vector<std::string>& milestones_of(Side side) {
  static const std::vector<std::string> source = {"attached", "connected",    "welcomed", "tracking", "mapped",
                                                  "copying",  "handing-over", "stopped",  "fenced",   "devices-sent",
                                                  "prepared", "committed",    "done"};
  static const std::vector<std::string> sink = {"greeted", "welcomed", "mapped",    "last-fence",
                                                "loaded",  "prepared", "committed", "resumed"};
  return side == Side::kSource ? source : sink;
}

std::vector<Kill> kills_of(Side side, const std::string& first, const std::string& last) {
  const auto& all = milestones_of(side);
  std::vector<Kill> kills;
  for (auto at = std::ranges::find(all, first); at != all.end(); ++at) {
    for (const auto version : {QemuVersion::k7_2, QemuVersion::k10_0}) kills.push_back({side, *at, version});
    if (*at == last) break;
  }
  return kills;
}

std::vector<Kill> every_kill() {
  auto all = kills_of(Side::kSource, "attached", "done");
  std::ranges::copy(kills_of(Side::kSink, "greeted", "resumed"), std::back_inserter(all));
  return all;
}

Home home_after(const Kill& kill) {
  if (comes_before(kill, "committed")) return Home::kSource;
  if (kill.milestone != "committed") return Home::kSink;
  return kill.side == Side::kSource ? Home::kInDoubt : Home::kAwaitsCont;
}

Json settings_of(TestQemu& qemu) {
  Json all;
  all["capabilities"] = qemu.monitor().execute("query-migrate-capabilities").value_or(Json());
  all["parameters"] = qemu.monitor().execute("query-migrate-parameters").value_or(Json());
  return all;
}

SettingsOfBoth settings_of(Scene& scene) {
  return {settings_of(scene.source()), settings_of(scene.sink())};
}

Result<std::string> probe(TestQemu& qemu) {
  const auto godwit = TRY(start_probe(qemu));
  TRY_IN("godwit probe", godwit->wait(kEndLimit));
  return godwit->output() + godwit->errors();
}

Status start_until_killed(Scene& scene, const Kill& kill, const std::vector<std::string>& receive) {
  return begin(scene, kill, "kill", receive);
}

Status stop_engine(Scene& scene, const Kill& kill) {
  TRY(begin(scene, kill, "stop", {}));
  return engine_of(scene, kill.side).process().wait_until_stopped(kEndLimit);
}

Status kill_engine(Scene& scene, const Kill& kill) {
  return engine_of(scene, kill.side).process().send_signal(SIGKILL);
}

Result<Recovered> recover(Scene& scene, const Kill& kill, const SettingsOfBoth& before) {
  const Ended killed = TRY(engine_of(scene, kill.side).wait(kEndLimit));
  if (killed.signal != SIGKILL) {
    return otherwise(fmt::format("the engine was to be killed, but ended with {}: {}", killed.code,
                                 engine_of(scene, kill.side).errors()));
  }
  TRY(other_engine_ends(scene, kill));
  Recovered said{home_after(kill), {}, {}};
  if (kill.side == Side::kSink && kill.milestone == "prepared" && TRY(scene.sender().wait(kEndLimit)).code == 3) {
    said.home = Home::kAwaitsCont;
  }
  // The other one has ended by itself, and needs nobody to tidy up.
  if (kill.side == Side::kSink && scene.source().alive()) {
    TRY_IN("before any probe", has_settings(scene.source(), before.source, "source"));
  }
  if (kill.side == Side::kSource && scene.sink().status()) {
    TRY_IN("before any probe", has_settings(scene.sink(), before.sink, "sink"));
  }
  if (scene.source().alive()) {
    said.source = TRY_IN("at the source", probe(scene.source()));
    TRY(has_settings(scene.source(), before.source, "source"));
  }
  // In the midst of a load QEMU ends itself when its stream breaks off.
  if (scene.sink().status()) {
    auto looked = probe(scene.sink());
    if (scene.sink().status()) {
      said.sink = TRY_IN("at the sink", std::move(looked));
      TRY(has_settings(scene.sink(), before.sink, "sink"));
    }
  }
  const bool here = scene.source().status().value_or("") == "running";
  const bool there = scene.sink().status().value_or("") == "running";
  if (here && there) return otherwise("the guest runs at both ends");
  return said;
}

}  // namespace godwit::testing
