#include "app/error_text.h"

#include <fmt/format.h>

#include "app/own_rights.h"
#include "app/printable.h"

namespace godwit {

namespace {

constexpr std::string_view kWhyRootAtSource = "it traces QEMU's process and reads its memory";
constexpr std::string_view kWhyRootAtDestination = "it opens QEMU's memory";

/// What to do after a failure before the commit, by what a caller can do about it. Sending again is always safe then.
std::string_view next_at_source(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
      return "Fix what is named above and send again.";
    case ErrorKind::kRefused:
      return "Nothing needs to be undone. Fix what is named above, on the side that it names, and send again.";
    case ErrorKind::kUnsupported:
      return "`godwit probe --qmp PATH` lists what this host and this VM lack.";
    case ErrorKind::kNoPermission:
      break;  // depends on what this process may do
    case ErrorKind::kNotFound:
      return "Check that what is named above exists, and that QEMU runs.";
    case ErrorKind::kIo:
      return "Fix what the operating system says above, and send again.";
    case ErrorKind::kPeerLost:
      return "Check the link and the destination host; start QEMU and `godwit receive` there again, and send again.";
    case ErrorKind::kProtocol:
      return "Check that a godwit of this version is at the other end; start it and its QEMU again, and send again.";
    case ErrorKind::kTimedOut:
      return "Check the link and what is named above; if the guest writes too fast, allow a longer --max-downtime or "
             "--timeout.";
    case ErrorKind::kCancelled:
      return "To try again, start QEMU and `godwit receive` at the destination again, and send again.";
    case ErrorKind::kHypervisor:
      return "Look at what QEMU says above and in its log; restart the destination's QEMU before you send again.";
  }
  return "Send again.";
}

/// The same where it is the destination that has failed, and has told so.
std::string_view next_there(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kNotFound:
    case ErrorKind::kIo:
    case ErrorKind::kTimedOut:
      return "Fix what is named above at the destination, start QEMU and `godwit receive` there again, and send again.";
    case ErrorKind::kUnsupported:
      return "`godwit probe --qmp PATH` at the destination lists what that host lacks.";
    case ErrorKind::kNoPermission:
      return "What `godwit receive` says tells why this was denied; start QEMU and it at the destination again, and "
             "send again.";
    case ErrorKind::kRefused:
    case ErrorKind::kPeerLost:
    case ErrorKind::kProtocol:
    case ErrorKind::kCancelled:
    case ErrorKind::kHypervisor:
      break;  // names both ends
  }
  return next_at_source(kind);
}

std::string_view next_at_destination(ErrorKind kind) noexcept {
  switch (kind) {
    case ErrorKind::kInvalidArgument:
    case ErrorKind::kNotFound:
    case ErrorKind::kIo:
      return "Fix what is named above, and start `godwit receive` again.";
    case ErrorKind::kNoPermission:
      break;  // depends on what this process may do
    case ErrorKind::kUnsupported:
      return "`godwit probe --qmp PATH` lists what this host lacks.";
    case ErrorKind::kRefused:
      return "Start QEMU here with the source's machine type, CPU and RAM and with -S -incoming defer, and receive "
             "again.";
    case ErrorKind::kPeerLost:
    case ErrorKind::kProtocol:
    case ErrorKind::kTimedOut:
    case ErrorKind::kCancelled:
    case ErrorKind::kHypervisor:
      return "To try again, restart QEMU here with -S -incoming defer, and then start `godwit receive`.";
  }
  return "Start `godwit receive` again.";
}

std::string next_after_a_failure(const Error& error, const OwnRights& rights) {
  if (error.at_peer) return std::string(next_there(error.kind));
  if (error.kind == ErrorKind::kNoPermission) return advice_on_denial(rights, kWhyRootAtSource);
  return std::string(next_at_source(error.kind));
}

Explanation explain_at_source(Outcome outcome, const Error& error, const OwnRights& rights) {
  switch (outcome) {
    case Outcome::kSourceStopped:
      return {"Not moved", "The VM is paused on this host; the destination cannot run it.",
              "Let it run on: `godwit probe --qmp PATH` here does so, or `cont` in QEMU's monitor."};
    case Outcome::kInDoubt:
      // Not by its exit code: with --keep that is not this VM's. A sink that has not received it never got the commit,
      // or has ended its QEMU before the guest ran, so here alone it may run. A destination that is lost may have run
      // it and written its disk: then the memory here is older than that.
      return {"In doubt", "The move was committed: the VM must not run here unless the destination never started it.",
              "If `receive` there said 'done': end the QEMU here. If 'In doubt', or it was killed: `cont` in the QEMU "
              "there, or, if that is gone, boot the VM from its disk. If 'Not received': `cont` here."};
    case Outcome::kGuestEnded:
      return {"Not moved", "The VM has ended on this host; the destination does not run it.",
              "Start the VM again where you want it to run; end the QEMU that waits at the destination."};
    case Outcome::kGuestPaused:
      return {"Not moved", "The VM is paused on this host, and stays so; the destination does not run it.",
              "Send it again as it is (it arrives paused), or once it runs again; restart the destination's "
              "QEMU first. `cont` in QEMU's monitor lets it run on here."};
    case Outcome::kIncomplete:
      return {
          "Incomplete", "The VM runs at the destination, and waits for memory that only the QEMU here has.",
          "Do not end QEMU on either host: without the one here the VM cannot go on. Start both commands again, with "
          "--resume."};
    case Outcome::kDone:
    case Outcome::kSourceRuns:
      break;
  }
  return {"Not moved", "The VM is on this host as it was; the destination does not run it.",
          next_after_a_failure(error, rights)};
}

Explanation explain_at_destination(Outcome outcome, ErrorKind kind, const OwnRights& rights) {
  if (outcome == Outcome::kInDoubt) {
    return {"In doubt",
            "The source has given the VM up for good; the VM is complete, and paused in the QEMU here if that is still "
            "alive.",
            "Type `cont` in the monitor of the QEMU here; if it is gone, boot the VM from its disk. "
            "Never resume the VM at the source."};
  }
  if (outcome == Outcome::kIncomplete) {
    return {
        "Incomplete", "The VM runs here, and waits for memory that only the source's QEMU has.",
        "Do not end QEMU on either host: without the one at the source the VM cannot go on. Start both commands again, "
        "with --resume."};
  }
  if (outcome == Outcome::kGuestEnded || outcome == Outcome::kGuestPaused) {
    return {"Not received", "The VM was not started here.",
            "To try again, restart QEMU here with -S -incoming defer, and then start `godwit receive`."};
  }
  return {"Not received", "The VM was not started here; the source has it.",
          kind == ErrorKind::kNoPermission ? advice_on_denial(rights, kWhyRootAtDestination)
                                           : std::string(next_at_destination(kind))};
}

/// "Message." with one full stop.
std::string sentence(std::string text) {
  while (text.ends_with(' ')) text.pop_back();
  if (!text.ends_with('.') && !text.ends_with('!') && !text.ends_with('?')) text += '.';
  return text;
}

}  // namespace

Explanation explain(Side side, Outcome outcome, const Error& error) {
  return explain(side, outcome, error, own_rights());
}

Explanation explain(Side side, Outcome outcome, const Error& error, const OwnRights& rights) {
  Explanation said = side == Side::kSource ? explain_at_source(outcome, error, rights)
                                           : explain_at_destination(outcome, error.kind, rights);
  said.happened = fmt::format("{}: {}", said.happened, sentence(printable(error.message)));
  return said;
}

std::string describe_failure(Side side, Outcome outcome, const Error& error, const OwnRights& rights) {
  const Explanation said = explain(side, outcome, error, rights);
  return fmt::format("{}\n{}\n{}", said.happened, said.state, said.next);
}

/// The guest may run there and lack what only this QEMU has: whatever else is tried could lose it.
constexpr std::string_view kDoubtInPostcopy =
    "Do not end QEMU on either host before you know. If `receive` there said 'Incomplete', or its QEMU runs the VM, "
    "that VM needs the QEMU here: start both commands again, with --resume. If that `receive`, and not a later one, "
    "said "
    "'Not received' and the QEMU there has ended: `cont` here. Never let a paused VM run there: it is not whole.";

/// What anybody says today tells nothing about that move.
constexpr std::string_view kGivenBefore =
    "The VM was given to the destination by an earlier move, and must not run here.\n"
    "Look there (`godwit probe`): once it is certain that it runs there, or has run, end the QEMU here. `cont` here "
    "only "
    "if the `receive` of that move, and not a later one, said 'Not received'.";

std::string describe_failure(const Report& report, const OwnRights& rights) {
  if (report.given_before && report.error) {
    const Explanation said = explain(Side::kSource, report.outcome, *report.error, rights);
    return fmt::format("{}\n{}", said.happened, kGivenBefore);
  }
  if (report.outcome == Outcome::kInDoubt && report.postcopy && report.error) {
    const Explanation said = explain(Side::kSource, report.outcome, *report.error, rights);
    return fmt::format("{}\n{}\n{}", said.happened, said.state, kDoubtInPostcopy);
  }
  return describe_failure(Side::kSource, report.outcome, report.error.value_or(Error{ErrorKind::kIo, "unknown", 0}),
                          rights);
}

namespace {

/// Nobody but the destination's host can tell any more: by what its QEMU is, and by the report that the receiver has
/// left there (left_report.h). One that is killed leaves none.
std::string in_doubt_over_ssh(const Report& report, const std::string& host, const std::string& qmp) {
  return fmt::format(
      "Unless {0} has said below how it ended, ask it: `ssh {0} godwit probe --qmp {1}`. Its QEMU is 'running': end "
      "the QEMU here. 'paused': `cont` there. 'inmigrate': `cont` here. It is gone: only if the same command says that "
      "move {2} ended as 'source-runs', `cont` here; else boot the VM from its disk.",
      host, qmp, report.id);
}

}  // namespace

std::string describe_failure_over_ssh(const Report& report, const std::string& host, const std::string& qmp,
                                      const OwnRights& rights) {
  // What `send` starts by itself is not the operator's to start.
  constexpr std::string_view kBoth = "QEMU and `godwit receive` ";
  constexpr std::string_view kOne = "QEMU ";
  std::string text = describe_failure(report, rights);
  const auto last_line = text.rfind('\n');
  if (report.outcome == Outcome::kInDoubt && !report.postcopy && !report.given_before) {
    return text.substr(0, last_line + 1) + in_doubt_over_ssh(report, printable(host), printable(qmp));
  }
  if (const auto found = text.find(kBoth, last_line); found != std::string::npos) {
    text.replace(found, kBoth.size(), kOne);
  }
  return text;
}

std::string describe_failure(const SinkReport& report, const OwnRights& rights) {
  const Error error = report.error.value_or(Error{ErrorKind::kIo, "unknown", 0});
  Explanation said = explain(Side::kDestination, report.outcome, error, rights);
  if (report.outcome == Outcome::kInDoubt && report.postcopy) {
    said.state = "The QEMU here does not have all of the VM's memory; what it lacks is at the source.";
    said.next = "It may have run here: end neither QEMU, and start both commands again, with --resume.";
  }
  if (report.outcome == Outcome::kSourceRuns && report.total == Duration{}) {
    said.state = "No VM came; nothing was changed here.";
    if (error.kind == ErrorKind::kCancelled) said.next = "To wait again, start `godwit receive` again.";
  }
  return fmt::format("{}\n{}\n{}", said.happened, said.state, said.next);
}

std::string describe_failure_of_one(const SinkReport& report, const OwnRights& rights) {
  const Error error = report.error.value_or(Error{ErrorKind::kIo, "unknown", 0});
  Explanation said = explain(Side::kDestination, report.outcome, error, rights);
  if (report.outcome != Outcome::kInDoubt && report.outcome != Outcome::kIncomplete) {
    if (report.changed) {
      said.next = "To try again, restart its QEMU here with -S -incoming defer, and send again.";
    } else if (error.kind != ErrorKind::kNoPermission) {
      said.next = "Nothing was changed here. Fix what is named above, on the side that it names, and send again.";
    }
  }
  return fmt::format("{}\n{}\n{}", said.happened, said.state, said.next);
}

std::string describe_failed_probe(const Error& error) {
  const std::string next = error.kind == ErrorKind::kNoPermission ? advice_on_denial(own_rights(), kWhyRootAtSource)
                                                                  : "Fix what is named above, and probe again.";
  return fmt::format("Could not inspect the VM: {}\nNo VM was moved.\n{}", sentence(printable(error.message)), next);
}

std::string describe_failed_forecast(const Error& error) {
  const std::string next = error.kind == ErrorKind::kNoPermission ? advice_on_denial(own_rights(), kWhyRootAtSource)
                           : error.kind == ErrorKind::kCancelled  ? "To watch it again, start `godwit forecast` again."
                                                                  : "Fix what is named above, and try again.";
  return fmt::format("Could not watch the VM: {}\nNo VM was moved, and nothing was left behind in it.\n{}",
                     sentence(printable(error.message)), next);
}

}  // namespace godwit
