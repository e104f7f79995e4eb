// The two ends of a move whose destination is started by ssh: what passes between them is src/remote's, here is what a
// TLS key, a report and an exit code are of it.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "app/command_line.h"
#include "app/own_rights.h"
#include "base/private_folder.h"
#include "engine/report.h"
#include "engine/sink.h"
#include "remote/near_side.h"
#include "remote/remote_lanes.h"
#include "remote/remote_receiver.h"
#include "tls/tls_context.h"

namespace godwit {

/// Where a VM goes, and how.
struct Destination {
  Address to;
  std::shared_ptr<TlsContext> tls;         ///< null: in the clear
  std::unique_ptr<RemoteReceiver> remote;  ///< null: somebody else has started it
  std::unique_ptr<RemoteLanes> lanes;      ///< null: connections go to `to` from here
};

/// Starts `godwit receive` there and gives it a new key. `on_line`: lines for people from there, with the host's name,
/// safe for a terminal; from another thread. The VM has not been looked at. `goals`: the move's.
Result<Destination> start_ssh_destination(const SshOptions& options, const Goals& goals,
                                          const std::stop_token& cancelled,
                                          std::function<void(std::string_view)> on_line);

/// A destination that has lost its remote shell says that it was cancelled: here it is known why.
Report with_ssh_named(Report report, const RemoteReceiver& remote, const SshOptions& options);

/// The move is over here: shows what the destination says of it, and gives its report as JSON, or nothing.
std::string end_ssh_destination(Destination& destination, const SshOptions& options, Outcome outcome);

/// Where `receive` listens, and whom it trusts.
struct ReceiveTrust {
  Address listen;
  std::shared_ptr<TlsContext> tls;           ///< null: anybody
  std::optional<PrivateFolder> folder = {};  ///< with the socket of `listen`, until all connections are there
};

/// Says hello, and takes the key. Where `listen` names no host it is the address that ssh has come by, or with `data` a
/// socket in a folder of its own.
Result<ReceiveTrust> take_ssh_trust(NearSide& near, const Address& listen, bool data);

/// Its sockets are of no use once all connections are there: then nothing is left behind, whatever ends this process.
/// `folder` outlives what is given.
OnMilestone removing_when_connected(std::optional<PrivateFolder>& folder, OnMilestone then);

/// `own`: what this command was started with.
RemoteReport ssh_report_of(const SinkReport& report, int exit_code, const OwnRights& own);

}  // namespace godwit
