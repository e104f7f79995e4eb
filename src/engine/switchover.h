// The switchover: has the hypervisor stop the guest, and waits until the sink holds all of it.
//
//   open():            before copying begins: ready to take device state in
//   prepare_in_time(): the hypervisor begins with what it can do while the guest runs
//   order_stop():      looked again at the VM, journaled, the hypervisor asked to stop the guest and save its devices
//   freeze():          the guest is paused: every load sends its rest
//   await_prepared():  devices saved, looked again at the VM, devices loaded at the sink
#pragma once

#include <span>

#include "engine/handover_relay.h"
#include "engine/ledger.h"
#include "engine/load.h"
#include "engine/sink_session.h"

namespace godwit {

using Loads = std::span<Load* const>;

class Switchover {
 public:
  /// Both outlive it.
  Switchover(SourceContext& context, SinkSession& session);

  Status open();
  /// As soon as the hypervisor's own work takes as long as what the loads have left: it needs its CPU time and its log
  /// of what the guest writes no longer than that.
  Status prepare_in_time(Loads loads);
  Status order_stop(Loads loads);
  Status freeze(Loads loads);
  Status await_prepared();
  bool ordered() const noexcept { return ordered_; }
  Ledger& ledger() noexcept { return ledger_; }
  void account(Report& report) const;

 private:
  Status order(Loads loads);

  SourceContext& context_;
  HandoverRelay relay_;
  Ledger ledger_;
  bool ordered_ = false;
};

}  // namespace godwit
