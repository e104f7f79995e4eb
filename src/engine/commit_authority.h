// Who says whether the engine may commit: give the guest at the source up for good, and have the sink run it.
#pragma once

#include "base/result.h"

namespace godwit {

/// Where there is none, what the engine has seen of both sides decides.
class CommitAuthority {
 public:
  virtual ~CommitAuthority() = default;
  /// Asked once, when both sides are prepared and the guest is paused. May wait for somebody's word: the guest is
  /// paused for as long. An error ends the migration, with the guest running at the source. After a yes the commit may
  /// still fail: the report tells.
  virtual Status may_commit() = 0;
};

}  // namespace godwit
