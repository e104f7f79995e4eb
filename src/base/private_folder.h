// A folder for sockets that only this user may open. It goes with this object; those of dead processes are removed by
// whoever makes the next one.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace godwit {

class PrivateFolder {
 public:
  /// In `parent`, which is made if it is missing: "ssh-XXXXXX", of mode 0700.
  static Result<PrivateFolder> make(const std::string& parent);
  PrivateFolder(PrivateFolder&& other) noexcept;
  PrivateFolder& operator=(PrivateFolder&&) = delete;
  ~PrivateFolder() { remove(); }

  const std::string& path() const noexcept { return path_; }
  /// With all that is in it; from then on it is of no use. Whoever has connected to a socket in it stays connected.
  void remove() noexcept;

 private:
  PrivateFolder() = default;
  std::string path_;  ///< empty: removed
  UniqueFd lock_;     ///< held as long as this process is alive: how others tell a dead one's folder
};

}  // namespace godwit
