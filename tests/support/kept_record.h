// What a hypervisor's driver writes down, kept where a test can look at it.
#pragma once

#include <mutex>
#include <string>

#include "vmm/vm_record.h"

namespace godwit::testing {

class KeptRecord final : public VmRecord {
 public:
  Status keep_settings(std::string_view settings) override {
    const std::lock_guard lock(mutex_);
    settings_ = settings;
    return {};
  }
  void settings_put_back() noexcept override {
    const std::lock_guard lock(mutex_);
    settings_.clear();
  }
  Status guest_stands(std::string_view mark) override {
    const std::lock_guard lock(mutex_);
    mark_ = mark;
    ++marks_;
    return {};
  }

  std::string settings() const {
    const std::lock_guard lock(mutex_);
    return settings_;
  }
  std::string mark() const {
    const std::lock_guard lock(mutex_);
    return mark_;
  }
  /// How often a mark was written.
  unsigned marks() const {
    const std::lock_guard lock(mutex_);
    return marks_;
  }

 private:
  mutable std::mutex mutex_;
  std::string settings_;
  std::string mark_;
  unsigned marks_ = 0;
};

}  // namespace godwit::testing
