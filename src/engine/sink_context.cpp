#include "engine/sink_context.h"

namespace godwit {

void SinkContext::note(std::string_view text) const {
  const std::lock_guard lock(noting_);
  if (parts.on_note) parts.on_note(text);
}

bool SinkContext::become_prepared() {
  const std::lock_guard lock(prepared_);
  if (error.get()) return false;
  state_ = SinkState::kPrepared;
  return true;
}

bool SinkContext::commit() {
  const std::lock_guard lock(prepared_);
  if (given_up_) return false;
  state_ = SinkState::kCommitted;
  return true;
}

bool SinkContext::give_up_for_good() {
  const std::lock_guard lock(prepared_);
  if (has_come_to(SinkState::kCommitted)) return false;
  given_up_ = true;
  return true;
}

bool SinkContext::cancel() {
  const std::lock_guard lock(prepared_);
  if (has_come_to(SinkState::kPrepared)) return false;
  std::string why = parts.why_cancelled ? parts.why_cancelled() : std::string();
  if (why.empty()) why = "cancelled by the operator";
  error.report(Error{ErrorKind::kCancelled, std::move(why)});
  return true;
}

}  // namespace godwit
