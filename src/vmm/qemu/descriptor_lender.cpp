#include "vmm/qemu/descriptor_lender.h"

#include <nlohmann/json.hpp>

namespace godwit::qemu {
namespace {

constexpr const char* kLentName = "godwit-lent";

class MonitorLender final : public DescriptorLender {
 public:
  MonitorLender(Qmp& qmp, const RemoteProcess& process) : qmp_(qmp), process_(process) {}

  Result<int> lend(int fd) override {
    TRY_IN("lend QEMU a descriptor", qmp_.give_descriptor(kLentName, fd));
    // QEMU does not tell under which number it has it.
    auto number = process_.find_descriptor(fd);
    if (!number) take_back();
    return number;
  }

  void take_back() noexcept override { (void)qmp_.execute("closefd", Json{{"fdname", kLentName}}); }

 private:
  Qmp& qmp_;
  const RemoteProcess& process_;
};

}  // namespace

std::unique_ptr<DescriptorLender> make_descriptor_lender(Qmp& qmp, const RemoteProcess& process) {
  return std::make_unique<MonitorLender>(qmp, process);
}

}  // namespace godwit::qemu
