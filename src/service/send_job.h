// One VM moved away, as a job that runs by itself.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "codec/accelerated_encoders.h"
#include "engine/goals.h"
#include "engine/journal.h"
#include "engine/progress.h"
#include "engine/report.h"
#include "engine/steering.h"
#include "host/host_profile.h"
#include "net/address.h"
#include "net/wrap.h"
#include "service/encoding_threads.h"
#include "service/job.h"
#include "service/job_log.h"
#include "service/job_thread.h"
#include "tls/tls_context.h"
#include "tracking/dirty_tracker.h"
#include "tracking/free_pages.h"
#include "vmm/hypervisor.h"

namespace godwit {

/// A running VM as its driver has opened it: all that a move needs of it.
class OpenedSource {
 public:
  virtual ~OpenedSource() = default;
  virtual SourceVm& vm() noexcept = 0;
  virtual DirtyTracker& tracker() noexcept = 0;
  virtual Journal& journal() noexcept = 0;
  virtual FreePages* free_pages() noexcept = 0;   ///< null: what the guest has free is sent like the rest
  virtual std::vector<pid_t> vcpu_threads() = 0;  ///< none, where they are not known
  /// As SourceParts::slow_guest.
  virtual Status slow_guest(double share) = 0;
  virtual Status lift_slowdown() = 0;
  virtual bool quiesce_harvests() const noexcept = 0;  ///< as in SourceParts
  virtual bool holes_may_appear() const noexcept = 0;  ///< as in SourceParts
  /// Its guest runs at the destination, and its journal says so: what it lacks there follows.
  virtual bool resumes() const noexcept { return false; }
};

/// Opens the VM that is to be moved; called once, from the job's thread. Where it fails because the VM is known not to
/// be here any more, it says so in `outcome`, which is kSourceRuns.
using OpenSource = std::function<Result<std::unique_ptr<OpenedSource>>(const JobContext& context, Outcome& outcome)>;

struct SendRequest {
  OpenSource open;
  Address to;
  Connect connect;  ///< how to get there; empty: by a socket from here
  Goals goals;
  std::shared_ptr<TlsContext> tls;  ///< null: in the clear
  std::string kernels;              ///< SIMD table by name; empty: the fastest
  std::string program;              ///< "godwit 0.1.0"
  bool resumes = false;             ///< a post-copy is gone on with: whatever fails, the guest may need this QEMU
  bool steerable = false;           ///< goals may be changed, and orders given, while it runs
};

/// All from threads of the job; may be empty.
struct SendHooks {
  OnProgress on_progress;
  OnMilestone on_milestone;
  SayNote on_note;
  /// Once, as soon as it is certain what becomes of the guest: what is cleaned up here after that is nobody's wait.
  std::function<void(const Report&)> on_outcome;
};

class SendJob {
 public:
  /// Starts. `clock` outlives it; `log` is for this job alone.
  SendJob(SendRequest request, SendHooks hooks, Log log, const HostProfile& host, const Clock& clock);

  /// The migration's, from the beginning on; where one is gone on with, its own as soon as that has been read.
  std::string id() const {
    const std::string resumed = resumed_id_.look();
    return resumed.empty() ? id_ : resumed;
  }
  /// The latest; nothing before there is any.
  std::optional<Progress> progress() const { return progress_.look(); }
  /// For a request that was `steerable`. Any thread.
  Steering& steering() noexcept { return steering_; }
  /// Before the commit the VM runs on here. Any thread.
  void cancel() noexcept { thread_.cancel(); }
  /// Until it has ended and all is cleaned up. Any thread, as often as wanted.
  Report wait() const { return thread_.wait(); }
  bool ended() const { return thread_.ended(); }

 private:
  Report run(std::stop_token cancelled);
  Result<Report> migrate(std::stop_token cancelled, Outcome& outcome);
  Status check_journal(OpenedSource& source);
  void open_accelerator_for(Goals& goals, const SayNote& note);
  void offer_accelerator(const SayNote& note);
  void tell_outcome(Report& report);
  void show(const Progress& progress);

  SendRequest request_;
  SendHooks hooks_;
  Log log_;
  HostProfile host_;
  const Clock& clock_;
  const std::string id_;                     ///< made up
  mutable Mailbox<std::string> resumed_id_;  ///< of the migration that is gone on with
  Steering steering_;
  ProgressLog progress_log_;
  mutable Mailbox<std::optional<Progress>> progress_;
  std::optional<EncodingThreads> encoding_;         ///< while memory is moved
  std::optional<AcceleratedEncoders> accelerated_;  ///< the same, where a device encodes
  std::optional<AcceleratorReport> accelerator_;    ///< its own, once it has been
  std::string why_no_accelerator_;
  unsigned encoding_threads_ = 0;  ///< the most that were at work, once it has been
  bool told_ = false;
  JobThread<Report> thread_;  ///< last: it works on the others
};

}  // namespace godwit
