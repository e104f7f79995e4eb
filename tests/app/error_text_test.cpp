#include "app/error_text.h"
#include "app/report_text.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <vector>

namespace godwit::error_text_test {
namespace {

std::vector<ErrorKind> all_kinds() {
  std::vector<ErrorKind> kinds;
  for (int i = 0; name_of(static_cast<ErrorKind>(i)) != "unknown"; ++i) kinds.push_back(static_cast<ErrorKind>(i));
  return kinds;
}

constexpr Outcome kFailures[] = {Outcome::kSourceRuns, Outcome::kSourceStopped, Outcome::kInDoubt, Outcome::kGuestEnded,
                                 Outcome::kGuestPaused};

void expect_contains(const std::string& text, std::string_view part) {
  EXPECT_NE(text.find(part), std::string::npos) << "no '" << part << "' in: " << text;
}

TEST(ErrorText, IsThreeShortLines) {
  for (const Side side : {Side::kSource, Side::kDestination}) {
    for (const Outcome outcome : kFailures) {
      for (const ErrorKind kind : all_kinds()) {
        const std::string text = describe_failure(side, outcome, Error{kind, "the link is down", 0});
        EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
        expect_contains(text, "the link is down.\n");
        const Explanation said = explain(side, outcome, Error{kind, "x", 0});
        EXPECT_LE(said.state.size(), 120U) << said.state;
        EXPECT_LE(said.next.size(), 200U) << said.next;
        EXPECT_FALSE(said.next.empty());
      }
    }
  }
}

TEST(ErrorText, SaysWhereTheVmIs) {
  const Error error{ErrorKind::kPeerLost, "the connection is gone", 0};
  expect_contains(explain(Side::kSource, Outcome::kSourceRuns, error).state, "on this host as it was");
  expect_contains(explain(Side::kSource, Outcome::kSourceStopped, error).state, "paused on this host");
  expect_contains(explain(Side::kSource, Outcome::kInDoubt, error).state, "must not run here unless");
  expect_contains(explain(Side::kDestination, Outcome::kSourceRuns, error).state, "not started here");
  expect_contains(explain(Side::kDestination, Outcome::kInDoubt, error).state,
                  "in the QEMU here if that is still alive");
}

TEST(ErrorText, BlamesNobodyForAGuestThatHasEnded) {
  for (const ErrorKind kind : all_kinds()) {
    const std::string ended = describe_failure(Side::kSource, Outcome::kGuestEnded, Error{kind, "it has shut down", 0});
    expect_contains(ended, "The VM has ended on this host");
    const std::string paused = describe_failure(Side::kSource, Outcome::kGuestPaused, Error{kind, "it is paused", 0});
    expect_contains(paused, "The VM is paused on this host, and stays so");
    for (const char* wrong : {"link", "as it was", "--max-downtime"}) {
      EXPECT_EQ(ended.find(wrong), std::string::npos) << ended;
      EXPECT_EQ(paused.find(wrong), std::string::npos) << paused;
    }
    const std::string there = describe_failure(Side::kDestination, Outcome::kGuestEnded, Error{kind, "x", 0});
    EXPECT_EQ(there.find("the source has it"), std::string::npos) << there;
  }
}

TEST(ErrorText, NeverAdvisesToResumeAtBothEnds) {
  const Error error{ErrorKind::kPeerLost, "the connection is gone", 0};
  expect_contains(explain(Side::kDestination, Outcome::kInDoubt, error).next, "Never resume the VM at the source");
  const std::string next = explain(Side::kSource, Outcome::kInDoubt, error).next;
  // What a sink says of this VM, not an exit code: `receive --keep` ends with 0 although a VM has not come.
  expect_contains(next, "If 'Not received': `cont` here.");
  expect_contains(next, "said 'done': end the QEMU here.");
  expect_contains(next, "If 'In doubt', or it was killed: `cont` in the QEMU there");
  EXPECT_TRUE(explain(Side::kDestination, Outcome::kInDoubt, error).happened.starts_with("In doubt: "));
  EXPECT_TRUE(explain(Side::kDestination, Outcome::kSourceRuns, error).happened.starts_with("Not received: "));
  expect_contains(render_report(SinkReport{.outcome = Outcome::kDone}), "done: the VM runs here");
  for (const ErrorKind kind : all_kinds()) {
    EXPECT_EQ(explain(Side::kDestination, Outcome::kSourceRuns, Error{kind, "x", 0}).next.find("`cont`"),
              std::string::npos)
        << name_of(kind);
  }
}

TEST(ErrorText, AdvisesByTheKindOfError) {
  const auto next = [](ErrorKind kind) {
    return explain(Side::kSource, Outcome::kSourceRuns, Error{kind, "x", 0}).next;
  };
  expect_contains(next(ErrorKind::kUnsupported), "godwit probe");
  expect_contains(next(ErrorKind::kPeerLost), "destination host");
  expect_contains(next(ErrorKind::kTimedOut), "--timeout");
}

/// What the destination has met is not looked for at the source.
TEST(ErrorText, SendsWhoeverHearsFromTheDestinationThere) {
  OwnRights user;
  user.root = false;
  for (const ErrorKind kind : all_kinds()) {
    const Error error{.kind = kind, .message = "the destination gave up: x", .at_peer = true};
    const std::string next = explain(Side::kSource, Outcome::kSourceRuns, error, user).next;
    EXPECT_EQ(next.find("as root"), std::string::npos) << next;
    EXPECT_EQ(next.find("this host"), std::string::npos) << next;
    EXPECT_LE(next.size(), 200U) << next;
    // A refusal names its side, and a cause on either side.
    if (kind != ErrorKind::kRefused && kind != ErrorKind::kProtocol) expect_contains(next, "destination");
  }
}

/// Whoever is root already is not told to become it, but what may have denied it to root.
TEST(ErrorText, SaysToBecomeRootOnlyToWhoIsNot) {
  const Error denied{ErrorKind::kNoPermission, "process 4711: attach to process 4711: Permission denied", 0};
  const auto next = [&](const OwnRights& rights, Side side = Side::kSource) {
    return explain(side, Outcome::kSourceRuns, denied, rights).next;
  };
  OwnRights user;
  user.root = false;
  EXPECT_EQ(next(user), "Run godwit as root (it traces QEMU's process and reads its memory).");
  EXPECT_EQ(next(user, Side::kDestination), "Run godwit as root (it opens QEMU's memory).");
  const struct {
    OwnRights rights;
    const char* named;
  } cases[] = {{{}, "look in the kernel's and the audit log"},
               {{.lacks = {"CAP_SYS_PTRACE"}}, "without CAP_SYS_PTRACE"},
               {{.in_user_namespace = true}, "in a user namespace"},
               {{.ptrace_off = true}, "with kernel.yama.ptrace_scope=3"},
               {{.seccomp = true}, "under a seccomp filter"},
               {{.module_profile = true}, "under an AppArmor or SELinux profile"}};
  for (const auto& one : cases) {
    for (const Side side : {Side::kSource, Side::kDestination}) {
      expect_contains(next(one.rights, side), one.named);
      EXPECT_EQ(next(one.rights, side).find("as root"), std::string::npos) << next(one.rights, side);
    }
  }
  const OwnRights all{true, {"CAP_DAC_OVERRIDE", "CAP_SYS_PTRACE"}, true, true, true, true};
  EXPECT_LE(next(all).size(), 260U) << next(all);
  EXPECT_EQ(describe_failed_probe(denied).find("as root") == std::string::npos, own_rights().root);
}

TEST(ErrorText, EndsTheFirstLineWithOneFullStop) {
  const auto happened = [](const char* message) {
    return explain(Side::kSource, Outcome::kSourceRuns, Error{ErrorKind::kIo, message, 0}).happened;
  };
  EXPECT_EQ(happened("no memory"), "Not moved: no memory.");
  EXPECT_EQ(happened("no memory."), "Not moved: no memory.");
  EXPECT_EQ(happened("no memory. "), "Not moved: no memory.");
}

TEST(ErrorText, DoesNotLetAPeerWriteOnTheTerminal) {
  const Error hostile{ErrorKind::kRefused, "no\n\x1b]0;owned\x07" + std::string(100000, 'x'), 0};
  const std::string text = describe_failure(Side::kSource, Outcome::kSourceRuns, hostile);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.find('\x07'), std::string::npos);
  EXPECT_LT(text.size(), 2000U);
}

TEST(ErrorText, ReadsReportsOfBothSides) {
  Report report;
  report.outcome = Outcome::kInDoubt;
  report.error = Error{ErrorKind::kTimedOut, "the destination did not answer", 0};
  EXPECT_EQ(describe_failure(report), describe_failure(Side::kSource, report.outcome, *report.error));
  SinkReport sink;
  sink.error = Error{ErrorKind::kPeerLost, "the source is gone", 0};
  sink.total = std::chrono::seconds(1);
  EXPECT_EQ(describe_failure(sink), describe_failure(Side::kDestination, Outcome::kSourceRuns, *sink.error));
}

TEST(ErrorText, AsksForNoReceiverWhereSendStartsIt) {
  Report report;
  report.error = Error{ErrorKind::kPeerLost, "QEMU and `godwit receive` are gone", 0};
  expect_contains(describe_failure(report), "start QEMU and `godwit receive` there again");
  expect_contains(describe_failure_over_ssh(report, "host-b", "/run/vm1.qmp"), "start QEMU there again");
  expect_contains(describe_failure_over_ssh(report, "host-b", "/run/vm1.qmp"), "QEMU and `godwit receive` are gone");
  report.error->kind = ErrorKind::kRefused;
  EXPECT_EQ(describe_failure_over_ssh(report, "host-b", "/run/vm1.qmp"), describe_failure(report));
}

/// No exit code of a process that nobody has seen; commands that tell, and what each answer means.
TEST(ErrorText, InDoubtOverSshSaysHowToAskTheFarHost) {
  Report report;
  report.id = "3f2a9c01d4e7";
  report.outcome = Outcome::kInDoubt;
  report.error = Error{ErrorKind::kPeerLost, "the link is gone", 0};
  const std::string text = describe_failure_over_ssh(report, "host-b", "/run/vm1.qmp");
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
  expect_contains(text, "`ssh host-b godwit probe --qmp /run/vm1.qmp`");
  expect_contains(text, "'running': end the QEMU here");
  expect_contains(text, "only if the same command says that move 3f2a9c01d4e7 ended as 'source-runs'");
  expect_contains(text, "else boot the VM from its disk");
}

TEST(ErrorText, NamesNoSourceWhereNoneHasConnected) {
  SinkReport sink;
  sink.error = Error{ErrorKind::kRefused, "this QEMU does not wait for a VM", 0};
  expect_contains(describe_failure(sink), "No VM came; nothing was changed here.");
  sink.error->kind = ErrorKind::kCancelled;
  expect_contains(describe_failure(sink), "To wait again, start `godwit receive` again.");
}

/// A VM has come, the receiver goes on, and whether its QEMU is as it was is known.
TEST(ErrorText, OfOneVmOfManySaysWhatIsToBeDoneForIt) {
  SinkReport sink;
  sink.error = Error{ErrorKind::kNotFound, "no QEMU waits here for a VM called 'a'", 0};
  for (const ErrorKind kind : all_kinds()) {
    sink.error->kind = kind;
    for (sink.changed = false;; sink.changed = true) {
      const std::string text = describe_failure_of_one(sink);
      EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << text;
      expect_contains(text, "The VM was not started here; the source has it.");
      EXPECT_EQ(text.find("No VM came"), std::string::npos) << text;
      EXPECT_EQ(text.find("start `godwit receive`"), std::string::npos) << text;
      if (sink.changed) break;
    }
  }
  sink.error->kind = ErrorKind::kPeerLost;
  sink.changed = true;
  expect_contains(describe_failure_of_one(sink), "restart its QEMU here");
  sink.changed = false;
  expect_contains(describe_failure_of_one(sink), "Nothing was changed here.");
  sink.outcome = Outcome::kInDoubt;
  EXPECT_EQ(describe_failure_of_one(sink), describe_failure(sink));
}

TEST(ErrorText, SaysThatAFailedProbeMovedNothing) {
  const std::string text = describe_failed_probe(Error{ErrorKind::kNotFound, "no monitor", 0});
  EXPECT_EQ(text, "Could not inspect the VM: no monitor.\nNo VM was moved.\nFix what is named above, and probe again.");
}

TEST(ErrorDocument, ListsEveryStateAndAdvice) {
  std::ifstream file(std::filesystem::path(GODWIT_SOURCE_FOLDER) / "docs/errors.md");
  const std::string document(std::istreambuf_iterator<char>(file), {});
  ASSERT_FALSE(document.empty());
  for (const Side side : {Side::kSource, Side::kDestination}) {
    for (const Outcome outcome : kFailures) {
      for (const ErrorKind kind : all_kinds()) {
        for (const OwnRights& rights : {OwnRights{.root = false}, OwnRights{}}) {
          for (const bool at_peer : {false, true}) {
            const Error error{.kind = kind, .message = "x", .at_peer = at_peer && side == Side::kSource};
            const Explanation said = explain(side, outcome, error, rights);
            expect_contains(document, said.state);
            expect_contains(document, said.next);
          }
        }
      }
    }
  }
}

/// What is there is not the whole guest: the advice for any other move would lose it.
TEST(ErrorText, InDoubtInPostcopyLetsNobodyEndEitherQemu) {
  Report report;
  report.outcome = Outcome::kInDoubt;
  report.error = Error{ErrorKind::kPeerLost, "the link is down", 0};
  report.postcopy = true;
  for (const std::string& text : {describe_failure(report), describe_failure_over_ssh(report, "host-b", "/q")}) {
    expect_contains(text, "Do not end QEMU on either host before you know");
    EXPECT_EQ(text.find("`cont` in the QEMU there"), std::string::npos) << text;
    EXPECT_EQ(text.find("`cont` there"), std::string::npos) << text;
  }
}

}  // namespace
}  // namespace godwit::error_text_test
