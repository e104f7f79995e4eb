// Huge pages of 2 MiB for the length of a test, where root can have them.
#pragma once

#include <fstream>

#include "base/unique_fd.h"
#include "tests/support/setting_lock.h"

namespace godwit::testing {

class SomeHugePages {
 public:
  explicit SomeHugePages(int count) : count_(count) {
    std::ifstream(kSetting) >> before_;
    std::ofstream(kSetting) << before_ + count_;
    std::ifstream(kSetting) >> now_;
  }
  ~SomeHugePages() { std::ofstream(kSetting) << before_; }
  SomeHugePages(const SomeHugePages&) = delete;
  SomeHugePages& operator=(const SomeHugePages&) = delete;
  bool ok() const { return now_ >= before_ + count_; }

 private:
  static constexpr const char* kSetting = "/proc/sys/vm/nr_hugepages";
  UniqueFd lock_ = lock_setting(kSetting);
  int count_;
  int before_ = 0, now_ = 0;
};

}  // namespace godwit::testing
