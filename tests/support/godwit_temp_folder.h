// A folder of a test's own, gone with the test; what tests that died left behind goes at the next chance.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/result.h"

namespace godwit::testing {

class TempFolder {
 public:
  /// Makes BASE/godwit-test-PID-XXXXXX. Sweeps away those in BASE whose process is gone.
  static Result<TempFolder> make(const std::filesystem::path& base);
  TempFolder() = default;
  TempFolder(TempFolder&& other) noexcept;
  TempFolder& operator=(TempFolder&& other) noexcept;
  ~TempFolder();

  const std::filesystem::path& path() const noexcept { return path_; }
  /// Mounts a file system of its own over the folder: "tmpfs" with "size=64m", "hugetlbfs" with "pagesize=2M".
  Status mount(const std::string& type, const std::string& options);

 private:
  void remove() noexcept;
  std::filesystem::path path_;
};

/// What every folder and namespace of this test program is called at first: "godwit-test-PID-".
std::string test_prefix();
/// Whether a name is of a test program that is gone.
bool of_dead_test(const std::string& name);

}  // namespace godwit::testing
