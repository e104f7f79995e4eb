// One address where many VMs come in, one after the other and side by side.
//
//   broker --a source with its Hello--> which QEMU? --by the VM's name--> ReceiveJob --report--> on_report
//                                         +-- none, or it is busy: refused by name
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>

#include "service/receive_job.h"

namespace godwit {

/// A hypervisor that may wait for a VM.
struct WaitingPlace {
  std::string where;  ///< names it: one job at a time uses it
  OpenSink open;
};

struct ReceiveServiceRequest {
  /// The hypervisor for a VM of this name, which comes from a peer. kRefused, kNotFound: there is none.
  std::function<Result<WaitingPlace>(const std::string& vm_name)> open_for;
  Address listen;
  std::shared_ptr<TlsContext> tls;  ///< null: in the clear
  Lenience lenience;
  Duration start_timeout{};                 ///< as in ReceiveRequest
  CodecDevice decoder = CodecDevice::kCpu;  ///< the same
  unsigned at_once = 4;                     ///< VMs side by side; further sources wait a little, then are refused
  std::string program;
};

/// From several threads, one at a time; may be empty. Whoever writes somewhere does so in a thread of its own: what
/// blocks here blocks all moves and those who come.
struct ReceiveServiceHooks {
  std::function<void(const Address&)> on_listening;
  OnMilestone on_milestone;
  SayNote on_note;                                   ///< of a VM's: begins with its name
  std::function<void(const SinkReport&)> on_report;  ///< of each source that has come as far as its Hello
};

/// "VM 'name' (id)": which of many something is said of; without an id where the source gave none. Not safe for a
/// terminal.
std::string name_of_move(const std::string& vm_name, const std::string& id);

class ReceiveService {
 public:
  /// `log_for_job` gives each job a log of its own. `clock` outlives it.
  ReceiveService(ReceiveServiceRequest request, ReceiveServiceHooks hooks, std::function<Log()> log_for_job,
                 const HostProfile& host, const Clock& clock);
  /// Serves until `stop` is requested; then cancels what has not been committed, and waits for the rest. kIo and the
  /// like if nobody can listen there.
  Status run(const std::stop_token& stop);

 private:
  struct Served {
    std::string where;
    std::unique_ptr<ReceiveJob> job;
  };
  void note(std::string_view text);
  void serve(Listener& listener, Broker::Place place);
  Result<WaitingPlace> place_for(const std::string& vm_name) const;
  void end_those_that_are_over();

  ReceiveServiceRequest request_;
  ReceiveServiceHooks hooks_;
  std::function<Log()> log_for_job_;
  HostProfile host_;
  const Clock& clock_;
  std::mutex mutex_;  ///< hooks
  std::list<Served> served_;
};

}  // namespace godwit
