// A shared key for a test's two sides.
#pragma once

#include <filesystem>
#include <fstream>
#include <string>

namespace godwit::testing {

/// A file in `folder` with a key, made at the first call.
inline std::string key_file_in(const std::filesystem::path& folder) {
  const auto file = folder / "key.psk";
  if (!std::filesystem::exists(file)) {
    std::ofstream(file) << "tests:" << std::string(64, '5') << "\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_read);
  }
  return file.string();
}

}  // namespace godwit::testing
