// A session at the sink: the control connection that opened it, and the lanes that proved to belong to it.
#pragma once

#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "base/clock.h"
#include "net/channel.h"
#include "wire/control.h"

namespace godwit {

struct OpenedSession {
  std::unique_ptr<Channel> control;
  wire::Secret secret{};
};
/// Takes connections until one greets as control. Others are turned away with a note, and the wait goes on. kTimedOut
/// after `patience` (zero: never).
Result<OpenedSession> await_session(Listener& listener, Duration patience, const Clock& clock,
                                    const std::function<void(std::string_view)>& on_note);

/// Takes connections until `lanes` have come that repeat the session's secret; others are turned away with a note.
Result<std::vector<std::unique_ptr<Channel>>> await_lanes(Listener& listener, const wire::Secret& secret,
                                                          unsigned lanes, const Clock& clock,
                                                          const std::function<void(std::string_view)>& on_note);

}  // namespace godwit
