// A made-up /proc, /sys and /dev in a temporary folder that goes with it.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "host/host_profile.h"

namespace godwit::testing {

class MadeUpHost {
 public:
  MadeUpHost() {
    std::string name = (std::filesystem::temp_directory_path() / "godwit-host-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) ADD_FAILURE() << "no temporary folder";
    root_ = name;
  }
  ~MadeUpHost() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  MadeUpHost(const MadeUpHost&) = delete;
  MadeUpHost& operator=(const MadeUpHost&) = delete;

  /// write("proc/meminfo", "...")
  void write(const std::string& path, const std::string& text) const {
    std::filesystem::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
    EXPECT_TRUE(std::filesystem::exists(root_ / path)) << path;
  }

  std::string path(const std::string& below) const { return (root_ / below).string(); }
  HostPaths paths() const { return {path("proc"), path("sys"), path("dev")}; }

 private:
  std::filesystem::path root_;
};

}  // namespace godwit::testing
