#include "engine/urgent_pages.h"

#include <bit>
#include <cstring>

#include "base/cpu_account.h"
#include "base/migration_id.h"

namespace godwit {

namespace {

// 32 KiB: a quarter of a millisecond at 1 Gbit/s, which a request that comes meanwhile waits at most.
constexpr unsigned kUrgentAtOnce = 8;
constexpr std::uint64_t kMostInQueue = 32 * 1024;
constexpr Duration kQueueLook = std::chrono::microseconds(50);
// A link with a long way holds more than that on it.
constexpr Duration kQueuePatience = std::chrono::milliseconds(20);

/// The lowest of the pages, at most so many.
PageWord first_of(PageWord pages, unsigned most) noexcept {
  PageWord taken = 0;
  for (; pages != 0 && most > 0; --most) {
    const PageWord lowest = pages & (~pages + 1);
    taken |= lowest;
    pages &= ~lowest;
  }
  return taken;
}

}  // namespace

void UrgentPages::start(const std::string& id, std::function<void(Error)> on_failed) {
  thread_ = job_thread([this, id, on_failed = std::move(on_failed)](const std::stop_token& stop) {
    name_thread(id, "urgent");
    Status status = run(stop);
    if (!status && !stop.stop_requested()) on_failed(std::move(status).error().in("the connection for urgent pages"));
  });
}

void UrgentPages::stop() {
  thread_.request_stop();
  abort();
  thread_ = {};
}

Status UrgentPages::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    const MutableBytes room = MutableBytes(request_).subspan(have_);
    have_ += TRY(channel_->read(room, room.size(), Deadline::never()));
    const auto request = TRY(wire::decode_page_request(request_));
    have_ = 0;
    TRY(answer(request));
  }
  return {};
}

/// Reads what has come of the next request.
Result<bool> UrgentPages::somebody_asks() {
  const MutableBytes room = MutableBytes(request_).subspan(have_);
  if (!room.empty()) have_ += TRY(channel_->read(room, 0, Deadline::never()));
  return have_ != 0;
}

Status UrgentPages::answer(const wire::PageRequest& request) {
  const auto& layout = setting_.memory.layout();
  if (request.chunk.value >= layout.chunk_count() || (request.pages & ~layout.valid_pages(request.chunk)) != 0) {
    return fail(ErrorKind::kProtocol, "the destination asks for pages that the guest does not have");
  }
  asked_for_ += page_count(request.pages);
  if (const PageWord taken = setting_.board.withdraw(request.chunk, request.pages); taken != 0) {
    TRY(send(request.chunk, taken));
  }
  return send_rest_of(request.chunk, request.pages);
}

/// What follows a page waits in the connection's queue, where the next page would come behind it.
Result<bool> UrgentPages::has_room() {
  for (Duration waited{}; channel_->link().send_queue().bytes > kMostInQueue; waited += kQueueLook) {
    const bool asked = TRY(somebody_asks());
    if (asked) return false;
    if (waited >= kQueuePatience) break;
    std::this_thread::sleep_for(kQueueLook);
  }
  return true;
}

/// Whoever reads a page as a rule goes on behind it.
Status UrgentPages::send_rest_of(ChunkIndex chunk, PageWord from) {
  const PageWord behind = ~((PageWord{1} << std::countr_zero(from)) - 1);
  while (true) {
    const PageWord waiting = setting_.board.peek(chunk);
    if (waiting == 0) return {};
    const bool asked = TRY(somebody_asks());
    if (asked) return {};
    const bool room = TRY(has_room());
    if (!room) return {};
    const PageWord next = (waiting & behind) != 0 ? waiting & behind : waiting;
    const PageWord taken = setting_.board.withdraw(chunk, first_of(next, kUrgentAtOnce));
    if (taken != 0) TRY(send(chunk, taken));
  }
}

/// Not compressed: that would take longer than a fast link, and a slow one has little else to do.
Status UrgentPages::send(ChunkIndex chunk, PageWord pages) {
  std::byte* const bytes = buffer_->bytes;
  const std::size_t count = page_count(pages);
  TRY(setting_.memory.read(chunk, pages, {bytes, count * kPageSize}));
  const PageWord uniform = setting_.kernels.uniform_pages(bytes, static_cast<unsigned>(count));
  wire::FrameHeader header{.chunk = chunk};
  std::byte* to = bytes;
  std::size_t at = 0;
  for_each_page(pages, [&](unsigned page) {
    const std::byte* from = bytes + at * kPageSize;
    std::uint64_t first = 0;
    std::memcpy(&first, from, sizeof first);
    const bool zero = ((uniform >> at) & 1) != 0 && first == 0;
    (zero ? header.zero : header.data) |= PageWord{1} << page;
    if (!zero) {
      if (to != from) std::memcpy(to, from, kPageSize);
      to += kPageSize;
    }
    ++at;
  });
  header.block = header.payload = static_cast<std::uint32_t>(to - bytes);
  auto encoded = wire::encode(header);
  const std::array<iovec, 2> parts{iovec{encoded.data(), encoded.size()}, iovec{bytes, header.payload}};
  TRY(channel_->write(std::span(parts).first(header.payload == 0 ? 1 : 2), Deadline::never()));
  sent_ += count;
  return {};
}

}  // namespace godwit
