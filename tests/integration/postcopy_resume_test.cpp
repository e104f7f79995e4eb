// Post-copy that survives: the link is cut or an engine killed while the guest runs at the destination and lacks
// memory; the same commands with --resume bring the rest, and the guest never reads a wrong word.
#include <fmt/format.h>

#include <random>
#include <thread>

#include "base/small_files.h"
#include "engine/journal_file.h"
#include "net/address.h"
#include "net/connect.h"
#include "tests/integration/far_side.h"
#include "tests/support/relay.h"
#include "tests/support/temp_key.h"

namespace godwit::testing {
namespace {

enum class Break { kSourceKilled, kSinkKilled, kLinkCut };

struct Broken {
  std::string name;
  Break how = Break::kSourceKilled;
  Ram ram = Ram::kMemfd;
  QemuVersion version = QemuVersion::k7_2;
  bool by_stream = false;
  bool tls = false;
};

void PrintTo(const Broken& broken, std::ostream* out) {
  *out << broken.name;
}

QemuOptions vm_of(const Broken& broken) {
  QemuOptions options;
  options.size = 128 * kMiB;
  options.guest = guest_image();
  options.guest_line = "work=16M cold=64M:24M zeros=7";
  options.ram = broken.ram;
  options.version = broken.version;
  return options;
}

/// The guest runs at the destination after a second, and most of it follows for ten.
GodwitOptions slow_send(const Broken& broken, const std::string& bandwidth = "60Mbit") {
  GodwitOptions options;
  options.arguments = {"--codec",        "raw",           "--delta-memory", "0",          "--bandwidth",
                       bandwidth,        "--on-deadline", "postcopy",       "--deadline", "1s",
                       "--max-downtime", "5ms",           "--progress",     "json"};
  if (broken.by_stream) options.arguments.insert(options.arguments.end(), {"--devices", "stream"});
  return options;
}

GodwitOptions resuming(GodwitOptions options = {}) {
  options.arguments.emplace_back("--resume");
  return options;
}

/// One post-copy that is broken off as often as is wanted.
class Survivor {
 public:
  Survivor(Scene& scene, const Broken& broken) : scene_(scene), broken_(broken) {}

  Status begin() {
    TRY(scene_.receive(trusting({})));
    return start_send(trusting(slow_send(broken_)));
  }
  Status go_on(const std::string& bandwidth) {
    ++resumed_;
    scene_.look_at_source_again();
    TRY(scene_.receive(resuming(trusting({}))));
    return start_send(resuming(trusting(slow_send(broken_, bandwidth))));
  }
  /// The guest runs at the destination, and memory follows; false: it is over already.
  bool follows() {
    wait_until(
        [&] {
          return scene_.sender().output().find("\"phase\":\"post-copy\"") != std::string::npos ||
                 !scene_.sender().process().alive();
        },
        seconds(60));
    return scene_.sender().process().alive();
  }
  /// One that has ended by itself is left alone.
  void strike(Break how) {
    if (how == Break::kLinkCut) relay_.reset();
    if (how == Break::kSourceKilled) (void)scene_.sender().process().send_signal(SIGKILL);
    if (how == Break::kSinkKilled) (void)scene_.receiver().process().send_signal(SIGKILL);
  }
  /// Both have ended: true if memory is missing still.
  Result<bool> is_broken_off() {
    const Ended sent = TRY_IN("godwit send", scene_.sender().wait(seconds(60)));
    const Ended received = TRY_IN("godwit receive", scene_.receiver().wait(seconds(60)));
    const auto known = [](const Ended& e) { return e.signal == SIGKILL || e.code == 0 || e.code == 7; };
    if (!known(sent) || !known(received)) {
      return fail(ErrorKind::kProtocol,
                  fmt::format("ended with {} ({}) and {} ({}): {}{}", sent.code, sent.signal, received.code,
                              received.signal, scene_.sender().errors(), scene_.receiver().errors()));
    }
    source_done_ = sent.signal == 0 && sent.code == 0;
    return !(received.signal == 0 && received.code == 0);
  }
  bool source_done() const { return source_done_; }
  /// The source has been told that it is needed no more, and the sink's engine was killed before it knew.
  Status end_without_source() {
    if (const Status started = scene_.receive(resuming()); !started) {
      // It had removed its journal, too.
      return says(started.error().message, "nothing to go on with") ? Status{} : started;
    }
    const Ended received = TRY(scene_.receiver().wait(seconds(60)));
    if (received.code == 0) return {};
    return fail(ErrorKind::kProtocol, scene_.receiver().errors());
  }
  unsigned resumed() const { return resumed_; }

 private:
  GodwitOptions trusting(GodwitOptions options) {
    if (broken_.tls) {
      options.arguments.insert(options.arguments.end(), {"--tls-psk", key_file_in(scene_.source().folder())});
    }
    return options;
  }
  Status start_send(const GodwitOptions& options) {
    relay_.emplace(TRY(parse_address(scene_.address())));
    return scene_.send_to(relay_->address(), options);
  }

  Scene& scene_;
  const Broken& broken_;
  std::optional<Relay> relay_;
  unsigned resumed_ = 0;
  bool source_done_ = false;
};

class PostcopyResumed : public ::testing::TestWithParam<Broken> {};

TEST_P(PostcopyResumed, LosesNoWord) {
  ASSIGN_OR_SKIP(huge, HugePages::for_vms(3, GetParam().ram, vm_of(GetParam()).size));
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam())));
  Survivor survivor(*scene, GetParam());
  ASSERT_OK(survivor.begin());
  ASSERT_TRUE(survivor.follows()) << scene->sender().errors();
  survivor.strike(GetParam().how);
  ASSIGN_OR_FAIL(broken_off, survivor.is_broken_off());
  ASSERT_TRUE(broken_off) << scene->sender().errors() << scene->receiver().errors();
  ASSERT_OK(survivor.go_on("4Gbit"));
  ASSERT_OK(scene->expect_moved());
  ASSERT_OK(scene->expect_some("pages_missing"));
}

const Broken kBroken[] = {
    {"SourceKilled", Break::kSourceKilled, Ram::kMemfd},
    {"SinkKilledPrivateTls", Break::kSinkKilled, Ram::kPrivate, QemuVersion::k7_2, false, true},
    {"LinkCutFile10", Break::kLinkCut, Ram::kFile, QemuVersion::k10_0},
    {"SinkKilledHuge", Break::kSinkKilled, Ram::kHugetlbfs},
};
INSTANTIATE_TEST_SUITE_P(After, PostcopyResumed, ::testing::ValuesIn(kBroken),
                         [](const auto& tested) { return tested.param.name; });

TEST(PostcopyResumedRefused, WhereNothingWasBrokenOff) {
  ASSIGN_OR_SKIP(scene, Scene::make(quiet_vm()));
  ASSIGN_OR_FAIL(receiver, start_receive(scene->sink(), resuming()));
  ASSIGN_OR_FAIL(received, receiver->wait(seconds(30)));
  EXPECT_EQ(received.code, 1);
  EXPECT_TRUE(says(receiver->errors(), "nothing to go on with")) << receiver->errors();
  ASSIGN_OR_FAIL(sender, start_send(scene->source(), "tcp://127.0.0.1:9", resuming()));
  ASSIGN_OR_FAIL(sent, sender->wait(seconds(30)));
  EXPECT_EQ(sent.code, 1);
  EXPECT_TRUE(says(sender->errors(), "nothing to go on with")) << sender->errors();
  EXPECT_EQ(scene->source().status().value_or(""), "running");
  EXPECT_EQ(scene->sink().status().value_or(""), "inmigrate");
}

// ---- long

/// Bytes of another guest would be put among those of this one.
TEST(PostcopyResumedRefusedLong, WhereAnotherVmComes) {
  const Broken broken{"", Break::kLinkCut};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(broken)));
  ASSIGN_OR_FAIL(other, Scene::make(quiet_vm()));
  Survivor survivor(*scene, broken);
  ASSERT_OK(survivor.begin());
  ASSERT_TRUE(survivor.follows()) << scene->sender().errors();
  survivor.strike(Break::kLinkCut);
  ASSIGN_OR_FAIL(broken_off, survivor.is_broken_off());
  ASSERT_TRUE(broken_off);
  ASSERT_OK(scene->receive(resuming()));
  ASSERT_OK(other->send_to(scene->address()));
  ASSIGN_OR_FAIL(sent, other->sender().wait(seconds(30)));
  EXPECT_EQ(sent.code, 1);
  EXPECT_TRUE(says(other->sender().errors(), "only `godwit send --resume`")) << other->sender().errors();
  EXPECT_EQ(other->source().status().value_or(""), "running");
  scene->look_at_source_again();
  ASSERT_OK(scene->send(resuming(slow_send(broken, "4Gbit"))));
  ASSERT_OK(scene->expect_moved());
}

/// The far side is started with --resume, too.
TEST(PostcopyResumedBySshLong, LosesNoWord) {
  const Broken broken{"", Break::kLinkCut};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(broken)));
  Survivor survivor(*scene, broken);
  ASSERT_OK(survivor.begin());
  ASSERT_TRUE(survivor.follows()) << scene->sender().errors();
  survivor.strike(Break::kLinkCut);
  ASSIGN_OR_FAIL(broken_off, survivor.is_broken_off());
  ASSERT_TRUE(broken_off);
  ASSIGN_OR_FAIL(far, FarSide::make(scene->sink()));
  scene->look_at_source_again();
  ASSERT_OK(send_by_script(*scene, *far, resuming(slow_send(broken, "4Gbit"))));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_TRUE(says(scene->sender().errors(), "destination: outcome     done")) << scene->sender().errors();
  ASSERT_OK(expect_guest_works(scene->sink()));
}

/// It says so; nobody can take that back.
TEST(PostcopyRunAtTheSourceLong, IsToldOfAndPaused) {
  const Broken broken{"", Break::kLinkCut};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(broken)));
  Survivor survivor(*scene, broken);
  ASSERT_OK(survivor.begin());
  ASSERT_TRUE(survivor.follows()) << scene->sender().errors();
  survivor.strike(Break::kLinkCut);
  ASSIGN_OR_FAIL(broken_off, survivor.is_broken_off());
  ASSERT_TRUE(broken_off);
  ASSERT_OK(scene->source().monitor().execute("cont"));
  std::this_thread::sleep_for(seconds(1));
  ASSERT_OK(scene->source().monitor().execute("stop"));
  ASSERT_OK(survivor.go_on("4Gbit"));
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 0) << scene->sender().errors();
  EXPECT_TRUE(says(scene->sender().errors(), "may have damaged it")) << scene->sender().errors();
  EXPECT_EQ(scene->source().status().value_or(""), "paused");
}

/// What the guest waits for cannot be told then: both QEMUs have to stay as they are.
TEST(PostcopyRecordDamagedLong, IsIncompleteAndNotTakenForNothing) {
  const Broken broken{"", Break::kSourceKilled};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(broken)));
  Survivor survivor(*scene, broken);
  ASSERT_OK(survivor.begin());
  ASSERT_TRUE(survivor.follows()) << scene->sender().errors();
  survivor.strike(Break::kSourceKilled);
  ASSIGN_OR_FAIL(broken_off, survivor.is_broken_off());
  ASSERT_TRUE(broken_off);
  const pid_t pid = scene->sink().pid();
  const VmProcess process{pid, read_start_time(pid).value()};
  const std::string folder = scene->sink().folder() / "state";
  const std::string record = missing_record_path(journal_path(folder, process).value());
  std::filesystem::rename(record, record + ".away");
  std::ofstream(record) << "something else";
  ASSERT_OK(scene->receive(resuming()));
  ASSIGN_OR_FAIL(received, scene->receiver().wait(seconds(30)));
  EXPECT_EQ(received.code, 7);
  EXPECT_TRUE(says(scene->receiver().errors(), "not a whole record")) << scene->receiver().errors();
  EXPECT_TRUE(says(scene->receiver().errors(), "Do not end QEMU")) << scene->receiver().errors();
  std::filesystem::rename(record + ".away", record);
  ASSERT_OK(survivor.go_on("4Gbit"));
  ASSERT_OK(scene->expect_moved());
}

/// Killed between the commit and the guest's start: whole at the end, and nobody's to start but the operator's.
TEST(PostcopyNeverStartedLong, IsWholeAndPausedInTheEnd) {
  const Broken broken{"", Break::kSinkKilled};
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(broken)));
  ASSERT_OK(scene->receive(failing_at("committed", "kill")));
  ASSERT_OK(scene->send(slow_send(broken)));
  ASSIGN_OR_FAIL(received, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(received.signal, SIGKILL);
  ASSIGN_OR_FAIL(sent, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent.code, 3) << scene->sender().errors();
  EXPECT_TRUE(says(scene->sender().errors(), "with --resume")) << scene->sender().errors();
  ASSERT_OK(scene->receive(resuming()));
  scene->look_at_source_again();
  ASSERT_OK(scene->send(resuming(slow_send(broken, "4Gbit"))));
  ASSIGN_OR_FAIL(sent_again, scene->sender().wait(seconds(60)));
  EXPECT_EQ(sent_again.code, 0) << scene->sender().errors();
  ASSIGN_OR_FAIL(received_again, scene->receiver().wait(seconds(60)));
  EXPECT_EQ(received_again.code, 0) << scene->receiver().errors();
  EXPECT_TRUE(says(scene->receiver().errors(), "type `cont`")) << scene->receiver().errors();
  EXPECT_EQ(scene->sink().status().value_or(""), "paused");
  EXPECT_NE(scene->source().status().value_or(""), "running");
  ASSERT_OK(scene->sink().monitor().execute("cont"));
  ASSERT_OK(expect_guest_works(scene->sink()));
}

class PostcopyResumedLong : public ::testing::TestWithParam<Broken> {};

/// Up to five times a move, at random moments, and more moves until it was twenty times.
TEST_P(PostcopyResumedLong, LosesNoWordHoweverOftenItBreaks) {
  constexpr unsigned kBreaks = 20;
  constexpr unsigned kBreaksPerMove = 5;
  std::mt19937 random(20 + static_cast<unsigned>(GetParam().how));
  std::uniform_int_distribution<int> moment(0, 1200);
  std::bernoulli_distribution either(0.5);
  ASSIGN_OR_SKIP(huge, HugePages::for_vms(3, GetParam().ram, vm_of(GetParam()).size));
  ASSIGN_OR_SKIP(scene, Scene::make(vm_of(GetParam())));
  unsigned breaks = 0;
  for (unsigned hop = 0; breaks < kBreaks && hop < 4 * kBreaks; ++hop) {
    Survivor survivor(*scene, GetParam());
    ASSERT_OK(survivor.begin());
    bool over = false;
    while (!over && survivor.resumed() < kBreaksPerMove && breaks < kBreaks) {
      SCOPED_TRACE(fmt::format("hop {}, break {}", hop, breaks));
      if (!survivor.follows()) break;
      std::this_thread::sleep_for(milliseconds(moment(random)));
      const Break killed = either(random) ? Break::kSourceKilled : Break::kSinkKilled;
      survivor.strike(GetParam().how == Break::kLinkCut ? Break::kLinkCut : killed);
      ASSIGN_OR_FAIL(broken_off, survivor.is_broken_off());
      over = !broken_off;
      if (over) break;
      ++breaks;
      if (survivor.source_done()) {
        ASSERT_OK(survivor.end_without_source());
        over = true;
        break;
      }
      ASSERT_OK(survivor.go_on(survivor.resumed() + 1 < kBreaksPerMove && breaks < kBreaks ? "60Mbit" : "4Gbit"));
    }
    if (!over) ASSERT_OK(scene->expect_moved());
    ASSERT_OK(expect_guest_works(scene->sink()));
    ASSIGN_OR_FAIL(next, Scene::from(scene->take_sink(), vm_of(GetParam())));
    scene = std::move(next);
  }
  EXPECT_EQ(breaks, kBreaks);
  RecordProperty("breaks", static_cast<int>(breaks));
}

const Broken kOften[] = {
    {"CutsMemfd", Break::kLinkCut, Ram::kMemfd},
    {"KillsHuge", Break::kSourceKilled, Ram::kHugetlbfs},
    {"CutsPrivate10", Break::kLinkCut, Ram::kPrivate, QemuVersion::k10_0},
    {"KillsMemfd10", Break::kSourceKilled, Ram::kMemfd, QemuVersion::k10_0},
    {"KillsPrivate", Break::kSourceKilled, Ram::kPrivate},
    {"KillsFileByStream", Break::kSourceKilled, Ram::kFile, QemuVersion::k7_2, true},
};
INSTANTIATE_TEST_SUITE_P(Often, PostcopyResumedLong, ::testing::ValuesIn(kOften),
                         [](const auto& tested) { return tested.param.name; });

}  // namespace
}  // namespace godwit::testing
