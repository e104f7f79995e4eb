// Files that are made and never overwritten, keys among them: what fails leaves nothing behind.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/result.h"

namespace godwit {

/// The mode is that of the file from the beginning, less the umask. kInvalidArgument if something of that name exists.
Status make_file(const std::string& path, std::string_view text, mode_t mode);

/// Puts a new file where another may have been: whoever opens it finds the one or the other, whole.
Status replace_file(const std::string& path, std::string_view text, mode_t mode);

/// Only for its owner. One that exists is left as it is.
Status make_folder_if_missing(const std::string& path);

/// kInvalidArgument if something of that name exists.
Status expect_nothing_at(const std::string& path);

/// A folder under another name, beside its own, until all is in it.
class NewFolder {
 public:
  static Result<NewFolder> begin(const std::string& parent);
  NewFolder(NewFolder&& other) noexcept;
  NewFolder& operator=(NewFolder&&) = delete;
  ~NewFolder();

  Status add(std::string_view name, std::string_view text, mode_t mode);
  /// Gives the folder its name in its parent. kInvalidArgument if something of that name exists.
  Status finish(const std::string& name);

 private:
  NewFolder(std::string parent, std::string path);

  std::string parent_;
  std::string path_;  ///< empty: nothing is left to remove
};

}  // namespace godwit
