#include "vmm/qemu/given_vm.h"

#include <nlohmann/json.hpp>

#include "memory/first_blocks.h"

namespace godwit::qemu {
namespace {

tl::unexpected<Error> given_away() {
  return fail(ErrorKind::kInvalidArgument, "this VM was given to another host");
}

class GivenVm final : public SourceVm {
 public:
  GivenVm(QemuVm& vm, const LifeWatch& life, DeviceWay way) : vm_(vm), life_(life), way_(way) {}

  const Fingerprint& fingerprint() const noexcept override { return vm_.inspection.fingerprint; }
  GuestMemory& memory() noexcept override { return main_memory_ ? *main_memory_ : *vm_.memory; }
  DeviceWay way() const noexcept override { return way_; }
  const std::string& why_stream() const noexcept override { return why_stream_; }
  Status use(DeviceWay way, std::string why_stream) override {
    if (way == way_) return {};
    if (way == DeviceWay::kDirect) return fail(ErrorKind::kUnsupported, "not all of its memory can be found");
    main_memory_ = TRY(first_blocks(*vm_.memory, vm_.inspection.blocks.size()));
    way_ = way;
    why_stream_ = std::move(why_stream);
    return {};
  }
  bool still_paused() const noexcept override { return !life_.look().resumed; }
  bool starts_paused() const noexcept override { return false; }
  bool moves_paused() const noexcept override { return false; }
  bool move_as_paused() override { return false; }
  Status meet(const Fingerprint&) override { return {}; }
  std::uint64_t expected_device_bytes() const noexcept override { return 0; }
  std::optional<Halt> halted() override {
    if (vm_.process->alive()) return std::nullopt;
    return Halt{Halt::Kind::kEnded, "the QEMU here has ended"};
  }
  bool can_take_back() const override { return false; }
  Status pause() override {
    TRY(vm_.qmp->execute("stop"));
    return {};
  }
  Status resume() override { return given_away(); }
  Status check_unchanged() override { return {}; }
  Status told_of_no_change() const override { return {}; }
  Status open_handover(HandoverObserver&) override { return given_away(); }
  Status order_handover(Duration) override { return given_away(); }
  Status roll_back() override { return given_away(); }
  Status finish() override { return {}; }
  void interrupt() noexcept override {}

 private:
  QemuVm& vm_;
  const LifeWatch& life_;
  DeviceWay way_;
  std::string why_stream_;
  std::unique_ptr<GuestMemory> main_memory_;  ///< where vm_.memory is more than is moved
};

}  // namespace

std::unique_ptr<SourceVm> make_given_vm(QemuVm& vm, const LifeWatch& life, DeviceWay way) {
  return std::make_unique<GivenVm>(vm, life, way);
}

}  // namespace godwit::qemu
