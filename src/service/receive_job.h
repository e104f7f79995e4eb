// One VM taken in, as a job that runs by itself.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "engine/sink.h"
#include "engine/sink_resumption.h"
#include "host/host_profile.h"
#include "net/address.h"
#include "service/job.h"
#include "service/job_thread.h"
#include "tls/tls_context.h"

namespace godwit {

/// A hypervisor that waits for a VM, as its driver has opened it.
class OpenedSink {
 public:
  virtual ~OpenedSink() = default;
  virtual const Fingerprint& fingerprint() const noexcept = 0;
  virtual Journal& journal() noexcept = 0;
  /// As in SinkParts: again for each source. What an earlier call gave is gone then.
  virtual Result<SinkVm*> open_vm(const Fingerprint& source, DeviceWay offered) = 0;
  virtual MatchSamples match_samples() = 0;  ///< as in SinkParts
  /// A guest that runs here already, and lacks memory; null: it waits for a VM.
  virtual const LackingGuest* lacking() const noexcept { return nullptr; }
  /// Nothing is to be remembered of the move. False: the guest is here, and does not run.
  virtual bool conclude() {
    journal().clear();
    return true;
  }
};

/// Opens the hypervisor; called once, from the job's thread.
using OpenSink = std::function<Result<std::unique_ptr<OpenedSink>>(const JobContext& context)>;

/// A source that has connected where several are served.
struct PlacedSource {
  Listener& listener;  ///< where it has come
  Broker::Place place;
};

struct ReceiveRequest {
  OpenSink open;
  Address listen;
  std::shared_ptr<TlsContext> tls;  ///< null: in the clear
  Lenience lenience;
  Duration timeout{};        ///< how long to wait for a source; zero: for ever
  Duration start_timeout{};  ///< after the commit: how long to ask a hypervisor that refuses to let the guest run
  CodecDevice decoder = CodecDevice::kCpu;  ///< what decodes deflate, where it can be used
  std::string program;
  bool resumes = false;  ///< a post-copy is gone on with: whatever fails, the guest may run here and lack memory
  std::optional<PlacedSource> placed = {};  ///< the source; nobody listens then. Refused by name if `open` fails
};

/// All from threads of the job; may be empty.
struct ReceiveHooks {
  std::function<void(const Address&)> on_listening;
  OnMilestone on_milestone;
  SayNote on_note;
};

class ReceiveJob {
 public:
  /// Starts. `clock` outlives it; `log` is for this job alone.
  ReceiveJob(ReceiveRequest request, ReceiveHooks hooks, Log log, const HostProfile& host, const Clock& clock);

  /// The migration's, once a source has come; empty before.
  std::string id() const { return source_id_.look(); }
  /// Without effect once this side has said that it is prepared: then it does what the source decides. `why` is told
  /// both operators; the first counts. Any thread.
  void cancel(const std::string& why = "cancelled by the operator");
  /// Until it has ended and all is cleaned up. Any thread, as often as wanted.
  SinkReport wait() const { return thread_.wait(); }
  bool ended() const { return thread_.ended(); }

 private:
  SinkReport run(std::stop_token cancelled);
  Result<SinkReport> migrate(std::stop_token cancelled);
  SinkReport take_in(SinkParts parts, const LackingGuest* lacking);
  void note_slow_start(const JobContext& context, const SinkReport& report) const;

  ReceiveRequest request_;
  ReceiveHooks hooks_;
  Log log_;
  HostProfile host_;
  const Clock& clock_;
  const std::string vm_name_;  ///< of the source that is placed already
  mutable Mailbox<std::string> why_cancelled_;
  mutable Mailbox<std::string> source_id_;
  std::optional<GuestStart> start_;  ///< the job's thread's
  JobThread<SinkReport> thread_;     ///< last: it works on the others
};

}  // namespace godwit
