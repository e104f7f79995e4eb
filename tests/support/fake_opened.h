// Fake VMs as their drivers would have opened them, for jobs.
#pragma once

#include "service/receive_job.h"
#include "service/send_job.h"
#include "tests/support/fake_vm.h"

namespace godwit::testing {

class FakeOpenedSource final : public OpenedSource {
 public:
  FakeOpenedSource(FakeSourceVm& vm, Journal journal) : vm_(vm), journal_(std::move(journal)) {}
  SourceVm& vm() noexcept override { return vm_; }
  DirtyTracker& tracker() noexcept override { return vm_; }
  Journal& journal() noexcept override { return journal_; }
  FreePages* free_pages() noexcept override { return nullptr; }
  std::vector<pid_t> vcpu_threads() override { return {}; }
  Status slow_guest(double) override { return fail(ErrorKind::kUnsupported, "a fake is not slowed down"); }
  Status lift_slowdown() override { return {}; }
  bool quiesce_harvests() const noexcept override { return false; }
  bool holes_may_appear() const noexcept override { return false; }

 private:
  FakeSourceVm& vm_;
  Journal journal_;
};

class FakeOpenedSink final : public OpenedSink {
 public:
  FakeOpenedSink(FakeSinkVm& vm, Journal journal) : vm_(vm), journal_(std::move(journal)) {}
  const Fingerprint& fingerprint() const noexcept override { return vm_.fingerprint(); }
  Journal& journal() noexcept override { return journal_; }
  Result<SinkVm*> open_vm(const Fingerprint&, DeviceWay) override { return &vm_; }
  MatchSamples match_samples() override { return {}; }

 private:
  FakeSinkVm& vm_;
  Journal journal_;
};

/// A host that can move VMs away.
inline HostProfile able_host() {
  HostProfile host;
  host.pagemap_scan = host.uffd_wp_async = true;
  return host;
}

}  // namespace godwit::testing
