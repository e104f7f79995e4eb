// A library that looks like Intel's, with a model of a device behind it (tests/standins), set for one test.
#pragma once

#include <dlfcn.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <map>
#include <string>

#include "codec/accelerator.h"

namespace godwit::testing {

inline std::string standin_path(CodecDevice device) {
  return std::string(GODWIT_STANDINS) + (device == CodecDevice::kQat ? "/libqatzip.so" : "/libqpl.so");
}

/// While it is alive, the device is as `setting` says: {"ERRORS", "10"} is GODWIT_MODEL_ERRORS=10.
class ModelOfDevice {
 public:
  using Setting = std::map<std::string, std::string>;
  explicit ModelOfDevice(CodecDevice device, Setting setting = {}) : device_(device), setting_(std::move(setting)) {
    for (const auto& [name, value] : setting_) ::setenv(("GODWIT_MODEL_" + name).c_str(), value.c_str(), 1);
    handle_ = ::dlopen(standin_path(device).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle_ == nullptr) ADD_FAILURE() << ::dlerror();
    call<void()>("godwit_model_reset")();
  }
  ~ModelOfDevice() {
    hold(false);
    amid_read({});
    EXPECT_TRUE(may_change_ || inputs_changed() == 0) << "somebody wrote to a block that the device had";
    call<void()>("godwit_model_reset")();
    for (const auto& [name, value] : setting_) ::unsetenv(("GODWIT_MODEL_" + name).c_str());
  }
  ModelOfDevice(const ModelOfDevice&) = delete;
  ModelOfDevice& operator=(const ModelOfDevice&) = delete;

  Result<std::unique_ptr<Accelerator>> open(Duration patience = std::chrono::seconds(60), bool decodes = false,
                                            unsigned queue_entries = 0,
                                            Duration least_patience = Duration::max()) const {
    const AcceleratorSetting setting{.library = standin_path(device_),
                                     .decodes = decodes,
                                     .least_patience = std::min<Duration>(patience, least_patience),
                                     .patience = patience,
                                     .devices = 2,
                                     .queue_entries = queue_entries};
    return device_ == CodecDevice::kQat ? open_qat(setting) : open_iaa(setting);
  }
  /// Answers no request until it is told otherwise.
  void hold(bool holds) const { call<void(bool)>("godwit_model_hold")(holds); }
  /// What happens when the device has read the first half of an input, on threads of its own. While requests are under
  /// way: at their beginning and their end, or not at all.
  using AmidRead = std::function<void(const std::byte* input, std::size_t length)>;
  void amid_read(AmidRead does) {
    using Call = void(void*, const std::uint8_t*, std::size_t);
    Call* const call_it = [](void* context, const std::uint8_t* input, std::size_t length) {
      (*static_cast<AmidRead*>(context))(reinterpret_cast<const std::byte*>(input), length);
    };
    amid_read_ = std::move(does);
    call<void(Call*, void*)>("godwit_model_amid_read")(amid_read_ ? call_it : nullptr, &amid_read_);
  }
  /// It reads guest RAM.
  void inputs_may_change() { may_change_ = true; }
  std::uint64_t inputs_changed() const { return call<std::uint64_t()>("godwit_model_inputs_changed")(); }

 private:
  template <typename Call>
  Call* call(const char* name) const {
    return reinterpret_cast<Call*>(::dlsym(handle_, name));
  }

  CodecDevice device_;
  Setting setting_;
  void* handle_ = nullptr;
  AmidRead amid_read_;
  bool may_change_ = false;
};

}  // namespace godwit::testing
