#include "engine/postcopy_sink.h"

#include "base/cpu_account.h"
#include "base/migration_id.h"
#include "engine/fence.h"
#include "wire/page_request.h"

namespace godwit {

PostcopySink::PostcopySink(Parts parts)
    : parts_(std::move(parts)),
      placer_(*parts_.pages, parts_.layout, parts_.on_all_there),
      lane_setting_{.placer = &placer_,
                    .kernels = parts_.kernels,
                    .decoders = parts_.decoders,
                    .on_fence =
                        [](unsigned, std::uint32_t) {
                          return fail(ErrorKind::kProtocol, "a fence on the connection for urgent pages");
                        }},
      asked_(parts_.layout.chunk_count()) {}

Status PostcopySink::begin() {
  begun_ = true;  // also if it fails half-way: whoever gives up has somebody to let go
  TRY_IN("run the guest before all of it is here", placer_.begin());
  touches_ = job_thread([this](const std::stop_token& stop) {
    name_thread(parts_.id, "touches");
    Status status = serve_touches(stop);
    if (!status && !stop.stop_requested()) parts_.on_failed(std::move(status).error().in("what the guest waits for"));
  });
  return {};
}

void PostcopySink::take_urgent() {
  urgent_ = job_thread([this](const std::stop_token& stop) {
    name_thread(parts_.id, "urgent");
    Status status = SinkLane(lane_setting_, 0, *parts_.urgent).run(stop);
    if (!status && !stop.stop_requested()) {
      parts_.on_failed(std::move(status).error().in("the connection for urgent pages"));
    }
  });
}

/// A page that was zeros when it was touched, and has been written at the source since, is among these: zeros that were
/// put in its place after it had been taken away would keep out what comes.
Status PostcopySink::take_away_more() {
  const std::lock_guard lock(taking_);
  return placer_.begin();
}

Status PostcopySink::serve_touches(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    for (const Touch& touch : TRY(parts_.pages->await_touches())) TRY(serve(touch));
  }
  return {};
}

/// What is missing of a huge page is asked for as a whole.
Status PostcopySink::serve(const Touch& touch) {
  if (touch.chunks == 0) return serve(touch.chunk, PageWord{1} << touch.page);
  bool waits = false;
  for (std::uint32_t c = 0; c < touch.chunks; ++c) {
    const ChunkIndex chunk{touch.chunk.value + c};
    const PageWord missing = placer_.missing(chunk);
    if (missing == 0) continue;
    waits = true;
    TRY(serve(chunk, missing));
  }
  return waits ? Status{} : serve(touch.chunk, 1);
}

Status PostcopySink::serve(ChunkIndex chunk, PageWord pages) {
  {
    const std::lock_guard lock(taking_);
    if ((placer_.missing(chunk) & pages) == 0) return parts_.pages->put_zeros(chunk, pages);
  }
  pages &= ~std::exchange(asked_[chunk.value], asked_[chunk.value] | pages);
  if (pages == 0) return {};
  return send_bytes(*parts_.urgent, wire::encode(wire::PageRequest{chunk, pages}));
}

Status PostcopySink::end() {
  stop();
  return parts_.pages->end();
}

void PostcopySink::stop() {
  touches_.request_stop();
  urgent_.request_stop();
  parts_.pages->interrupt();
  abort();
  touches_ = {};
  urgent_ = {};
}

void tell_all_there(SinkContext& context, SourceSession& session) {
  context.parts.on_milestone(Milestone::kLastFencePassed);
  // Whoever goes on after this engine's death needs the source no more, and will not find it.
  (void)context.parts.journal.nothing_missing();
  const Status told = session.control().send(wire::Fenced{kLastFence});
  if (told) return;
  context.note("all of the guest's memory is here, but the source could not be told: " + told.error().message);
}

}  // namespace godwit
