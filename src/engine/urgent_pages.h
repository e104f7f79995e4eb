// Pages that a guest waits for at the sink go at once, on a connection of their own, past whatever lies in the lanes.
//
//   sink: a touched page --PageRequest--> taken off the board --> frame, not compressed --------------> put in place
//                                         the chunk's others behind it, some at a time,
//                                         until the next request
//
// What is not on the board any more is on its way in a lane.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <thread>

#include "engine/source_lane.h"
#include "wire/page_request.h"

namespace godwit {

class UrgentPages {
 public:
  /// `setting` outlives it. `on_failed` is called from its thread, once.
  UrgentPages(LaneSetting& setting, std::unique_ptr<Channel> channel)
      : setting_(setting), channel_(std::move(channel)) {}
  ~UrgentPages() { stop(); }

  /// From here on requests are answered. Memory does not change any more.
  void start(const std::string& id, std::function<void(Error)> on_failed);
  void bear_silence(Duration dead_after) noexcept { channel_->link().bear_silence(dead_after); }
  void abort() noexcept { channel_->abort(); }
  /// Aborts and joins.
  void stop();

  std::uint64_t asked_for() const noexcept { return asked_for_; }  ///< pages
  std::uint64_t sent() const noexcept { return sent_; }            ///< pages, those behind the ones asked for, too
  std::uint64_t bytes_sent() const { return channel_->link().bytes_sent(); }

 private:
  Status run(const std::stop_token& stop);
  Result<bool> somebody_asks();
  Result<bool> has_room();
  Status answer(const wire::PageRequest& request);
  Status send_rest_of(ChunkIndex chunk, PageWord from);
  Status send(ChunkIndex chunk, PageWord pages);

  LaneSetting& setting_;
  std::unique_ptr<Channel> channel_;
  struct alignas(64) Buffer {
    std::byte bytes[kChunkSize];
  };
  std::unique_ptr<Buffer> buffer_ = std::make_unique<Buffer>();
  wire::PageRequestBytes request_{};
  std::size_t have_ = 0;  ///< bytes of it that have come
  std::atomic<std::uint64_t> asked_for_{0};
  std::atomic<std::uint64_t> sent_{0};
  std::jthread thread_;
};

}  // namespace godwit
