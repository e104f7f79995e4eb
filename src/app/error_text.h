// A failure as a person reads it: three short lines. What happened, where the VM is now, what to do next.
//
// docs/errors.md lists them; a test holds the two together.
#pragma once

#include <string>

#include "app/own_rights.h"
#include "base/result.h"
#include "engine/report.h"
#include "engine/sink.h"

namespace godwit {

/// The end of the migration at which this program runs.
enum class Side { kSource, kDestination };

struct Explanation {
  std::string happened;
  std::string state;
  std::string next;
};

/// For any outcome but kDone. What to do about a denied permission depends on what this process may do; `rights` are
/// those that the command was started with, or the present ones.
Explanation explain(Side side, Outcome outcome, const Error& error);
Explanation explain(Side side, Outcome outcome, const Error& error, const OwnRights& rights);

/// The three lines, without a line end after the last. Nothing a peer said can do harm on a terminal.
std::string describe_failure(Side side, Outcome outcome, const Error& error, const OwnRights& rights = own_rights());
std::string describe_failure(const Report& report, const OwnRights& rights = own_rights());
/// The same where `send` starts the receiver itself on `host`, for the QEMU with that monitor.
std::string describe_failure_over_ssh(const Report& report, const std::string& host, const std::string& qmp,
                                      const OwnRights& rights = own_rights());
std::string describe_failure(const SinkReport& report, const OwnRights& rights = own_rights());
/// The same of one VM of many, by a receiver that goes on.
std::string describe_failure_of_one(const SinkReport& report, const OwnRights& rights = own_rights());
/// A probe that could not look at the VM.
std::string describe_failed_probe(const Error& error);
/// A forecast that could not watch the VM.
std::string describe_failed_forecast(const Error& error);

}  // namespace godwit
