#include "tests/integration/scene.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "tests/support/temp_key.h"

namespace godwit::testing {
namespace {

/// For a Godwit to notice what happened and to end: a dead peer takes it 6 s, a busy machine longer.
constexpr seconds kEndLimit{60};

tl::unexpected<Error> otherwise(std::string what) {
  return fail(ErrorKind::kProtocol, std::move(what));
}

std::string lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(), [](unsigned char c) { return std::tolower(c); });
  return text;
}

}  // namespace

bool says(const std::string& text, const std::string& words) {
  const std::string in = lower(text);
  std::string rest = lower(words);
  while (true) {
    const auto bar = rest.find('|');
    if (in.find(rest.substr(0, bar)) != std::string::npos) return true;
    if (bar == std::string::npos) return false;
    rest = rest.substr(bar + 1);
  }
}

GodwitOptions failing_at(const std::string& milestone, const std::string& action) {
  GodwitOptions options;
  options.environment["GODWIT_FAILPOINT"] = milestone + ":" + action;
  return options;
}

QemuOptions quiet_vm() {
  QemuOptions options;
  options.size = 128 * kMiB;
  options.guest = guest_image();
  options.guest_line = "work=2M cold=64M:2M rate=2000 zeros=5";
  return options;
}

Result<std::unique_ptr<Scene>> Scene::make(const QemuOptions& source, const QemuOptions& sink) {
  auto scene = std::unique_ptr<Scene>(new Scene);
  scene->shared_before_ = shared_memory_files();
  scene->sink_options_ = sink;
  scene->pair_ = TRY(start_pair(source, sink));
  scene->before_ = TRY(Footprint::of(scene->source().pid()));
  return scene;
}

Result<std::unique_ptr<Scene>> Scene::from(std::unique_ptr<TestQemu> source, const QemuOptions& sink) {
  auto scene = std::unique_ptr<Scene>(new Scene);
  scene->shared_before_ = shared_memory_files();
  scene->sink_options_ = sink;
  scene->pair_.source = std::move(source);
  QemuOptions incoming = sink;
  incoming.incoming = true;
  scene->pair_.sink = TRY(TestQemu::start(incoming));
  scene->before_ = TRY(Footprint::of(scene->source().pid()));
  return scene;
}

Status Scene::change_source(const std::function<Status(TestQemu&)>& change) {
  const auto before = TRY(Footprint::of(source().pid()));
  TRY(change(source()));
  before_->add_growth(before, TRY(Footprint::of(source().pid())));
  return {};
}

Status Scene::receive(const GodwitOptions& options) {
  GodwitOptions more = options;
  std::string listen = "tcp://127.0.0.1:0";
  if (lab_ != nullptr) {
    more.network_namespace = lab_->sink();
    listen = "tcp://" + NetLab::sink_address() + ":0";
    TRY(trust(more));
  }
  receiver_ = TRY(start_receive(sink(), more, listen));
  address_ = TRY_IN("godwit receive", receiver_->listening_at());
  return {};
}

/// What leaves a host is encrypted: by a key that both sides have, unless the test says otherwise.
Status Scene::trust(GodwitOptions& options) {
  constexpr std::array ways{"--tls-dir", "--tls-psk", "--insecure-plain"};
  const auto is_way = [&](const std::string& word) { return std::ranges::find(ways, word) != ways.end(); };
  if (std::ranges::any_of(options.arguments, is_way)) return {};
  options.arguments.insert(options.arguments.end(), {"--tls-psk", key_file_in(source().folder())});
  return {};
}

Status Scene::send(const GodwitOptions& options) {
  return send_to(address_, options);
}

Status Scene::send_to(const std::string& address, const GodwitOptions& options) {
  GodwitOptions more = options;
  if (lab_ != nullptr) {
    more.network_namespace = lab_->source();
    // By ssh both sides are given a key.
    if (!address.starts_with("ssh://")) TRY(trust(more));
  }
  sender_ = TRY(start_send(source(), address, more));
  return {};
}

/// 64 MiB and 1 % of RAM: the promise for any guest.
Status Scene::expect_small_engines(const Json& report) {
  const std::uint64_t allowed = 64 * kMiB + report.value("ram_bytes", std::uint64_t{0}) / 100;
  for (const char* side : {"source_peak_memory", "sink_peak_memory"}) {
    const auto peak = report.value(side, std::uint64_t{0});
    if (peak > allowed) return otherwise(fmt::format("{} is {} bytes, more than {}", side, peak, allowed));
  }
  return {};
}

Status Scene::expect_report(const std::string& outcome) {
  const Json report = TRY(sender_->report());
  const std::string found = report.value("outcome", "none");
  if (found != outcome) return otherwise(fmt::format("the report's outcome is {}, not {}", found, outcome));
  return expect_small_engines(report);
}

Status Scene::expect_some(const std::string& name) {
  const Json report = TRY(sender_->report());
  return report.value(name, std::uint64_t{0}) > 0 ? Status{} : otherwise("the report's " + name + " is 0");
}

Status Scene::expect_moved() {
  const Ended sent = TRY_IN("godwit send", sender_->wait(seconds(120)));
  if (sent.code != 0 && !receiver_) {
    return otherwise(fmt::format("exit code {} (signal {}): {}", sent.code, sent.signal, sender_->errors()));
  }
  // One that `send` has started is not this test's child.
  const Ended received = receiver_ ? TRY_IN("godwit receive", receiver_->wait(kEndLimit)) : Ended{.code = 0};
  if (sent.code != 0 || received.code != 0) {
    return otherwise(fmt::format("exit codes {} (signal {}) and {} (signal {}); send: {}receive: {}", sent.code,
                                 sent.signal, received.code, received.signal, sender_->errors(), receiver_->errors()));
  }
  TRY(expect_report("done"));
  const std::string here = TRY(source().status()), there = TRY(sink().status());
  if (there != "running") return otherwise("the guest at the sink is " + there);
  if (here == "running") return otherwise("the guest runs at the source too");
  TRY_IN("at the sink", expect_guest_works(sink()));
  return expect_nothing_left();
}

Status Scene::expect_receiver_ends() {
  if (!receiver_) return {};
  // One that has lost its source before anything was changed there waits for the next.
  const auto waits = [&] {
    const std::string errors = receiver_->errors();
    const auto last = errors.rfind('\n', errors.size() < 2 ? 0 : errors.size() - 2);
    return says(errors.substr(last == std::string::npos ? 0 : last), "waiting for a source again|was turned away");
  };
  const auto ended_or_waits = [&] { return !receiver_->process().alive() || waits(); };
  if (wait_until(ended_or_waits, kEndLimit) && receiver_->process().alive()) {
    if (sink().alive() && TRY(sink().status()) != "inmigrate") return otherwise("the sink's QEMU waits no more");
    TRY(receiver_->process().send_signal(SIGINT));
  }
  const auto ended = receiver_->wait(kEndLimit);
  if (!ended) return fail(ended.error());
  if (ended->code == 0) return otherwise("godwit receive says it succeeded: " + receiver_->errors());
  if (ended->signal != 0 && ended->signal != SIGKILL) {
    return otherwise(fmt::format("godwit receive died of signal {}: {}", ended->signal, receiver_->errors()));
  }
  return {};
}

Status Scene::expect_sink_does_not_run() {
  if (!pair_.sink || !sink().alive()) return {};
  const auto status = sink().status();
  // QEMU may be ending itself just now.
  if (status && *status == "running") return otherwise("the guest runs at the sink");
  return {};
}

Status Scene::expect_source_runs(const std::vector<std::string>& words) {
  const Ended sent = TRY_IN("godwit send", sender_->wait(kEndLimit));
  if (sent.code != 1) {
    return otherwise(
        fmt::format("godwit send: exit code {} (signal {}), not 1: {}", sent.code, sent.signal, sender_->errors()));
  }
  TRY(expect_report("source-runs"));
  for (const auto& word : words) {
    if (!says(sender_->errors(), word)) {
      return otherwise(fmt::format("'{}' is not said in: {}", word, sender_->errors()));
    }
  }
  const std::string here = TRY(source().status());
  if (here != "running") return otherwise("the guest at the source is " + here + ": " + sender_->errors());
  TRY(expect_receiver_ends());
  TRY(expect_sink_does_not_run());
  TRY_IN("at the source", expect_guest_works(source()));
  return expect_nothing_left();
}

Result<bool> Scene::expect_probe_revives() {
  const Ended sent = TRY(sender_->wait(kEndLimit));
  if (sent.signal != SIGKILL) {
    return otherwise(fmt::format("godwit send was to be killed, but: exit code {}: {}", sent.code, sender_->errors()));
  }
  TRY(expect_receiver_ends());
  TRY(expect_sink_does_not_run());
  const bool was_paused = TRY(source().status()) != "running";
  const auto probe = TRY(start_probe(source()));
  const Ended probed = TRY_IN("godwit probe", probe->wait(kEndLimit));
  const std::string text = probe->output() + probe->errors();
  if (probed.code != 0) return otherwise(fmt::format("godwit probe: exit code {}: {}", probed.code, text));
  const std::string here = TRY(source().status());
  if (here != "running") return otherwise("after the probe the guest is " + here + ": " + text);
  if (was_paused && !says(text, "let run")) return otherwise("the probe does not say that it revived it: " + text);
  TRY_IN("at the source", expect_guest_works(source()));
  TRY(expect_nothing_left());
  return was_paused;
}

Status Scene::expect_nothing_left() {
  std::vector<std::string> grown;
  // QEMU 7.2 closes what it was lent only while its guest runs.
  const auto may_stay = [&] {
    return source().version() == QemuVersion::k7_2 && source().status().value_or("") != "running" &&
           (grown.size() == 1 && says(grown.front(), "/memfd:godwit-devices") &&
            std::stoul(grown.front()) <= may_be_lent_);
  };
  const auto look = [&] {
    // The engine's monitor connection may still be closing.
    const auto now = Footprint::of(source().pid());
    if (now) grown = before_->grown_in(*now);
    return grown.empty() || may_stay();
  };
  if (source().alive() && !wait_until(look, seconds(5))) {
    return otherwise(fmt::format("left in the source QEMU: {}", fmt::join(grown, ", ")));
  }
  std::vector<pid_t> ours = {::getpid(), source().pid()};
  if (pair_.sink) ours.push_back(sink().pid());
  if (sender_) ours.push_back(sender_->process().pid());
  if (receiver_) ours.push_back(receiver_->process().pid());
  const auto shared = new_shared_memory_files(shared_before_, ours);
  if (!shared.empty()) return otherwise(fmt::format("left in /dev/shm: {}", fmt::join(shared, ", ")));
  std::vector<pid_t> processes;
  const auto all_ended = [&] {
    processes = processes_marked(kMark, test_mark());
    return processes.empty();
  };
  // What lets go of the guest after an engine's death ends by itself.
  if (!wait_until(all_ended, seconds(20)))
    return otherwise(fmt::format("processes left: {}", fmt::join(processes, ", ")));
  return {};
}

Status Scene::expect_next_migration_succeeds() {
  receiver_.reset();
  sender_.reset();
  sink_options_.incoming = true;
  pair_.sink.reset();
  pair_.sink = TRY(TestQemu::start(sink_options_));
  TRY(receive());
  TRY(send());
  return expect_moved();
}

}  // namespace godwit::testing
