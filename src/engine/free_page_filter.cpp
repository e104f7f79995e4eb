#include "engine/free_page_filter.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/cpu_account.h"

namespace godwit {

namespace {
// A look costs 1 ms per GiB of RAM and more: it is worth it while the lanes are still busy when it is over. So, more
// pages than they send in the time that the last one took, at 1 GB/s.
constexpr std::uint64_t kWorthALook = 1024;
constexpr std::uint64_t kPagesPerMillisecond = 256;
// Looks that find much follow each other, with more time between than they take.
constexpr Duration kLookSeldomEvery = std::chrono::milliseconds(500);
constexpr Duration kLookSoonAgain = std::chrono::milliseconds(50);
constexpr int kLookPart = 5;
// A page for which it takes longer to be looked into might as well be sent, at 1 GB/s.
constexpr Duration kWorthLookingInto = std::chrono::microseconds(4);
constexpr std::uint32_t kChunksAtOnce = 32;
// A twentieth of the coordinator's time at most.
constexpr Duration kRehearseEvery = std::chrono::milliseconds(250);
constexpr int kRehearsalPart = 20;
}  // namespace

FreePageFilter::FreePageFilter(FreePages* finder, Board& board, SharedPageWords& left_out, const Clock& clock)
    : finder_(finder), board_(board), left_out_(left_out), clock_(clock) {}

void FreePageFilter::locate() {
  if (finder_ == nullptr) return;
  words_.resize(board_.chunk_count());
  unseen_.resize(board_.chunk_count());
  first_unseen_ = board_.chunk_count();
  state_ = State::kLooking;
  locator_ = job_thread([this](std::stop_token stop) {
    const Status located = finder_->locate(stop, [this] { state_.store(State::kLikely, std::memory_order_release); });
    if (!located) why_not_ = located.error().message;
    const bool given_up = !located && stop.stop_requested();
    state_.store(located ? State::kFound : given_up ? State::kLooking : State::kNothing, std::memory_order_release);
  });
}

void FreePageFilter::withdraw(bool just_harvested) {
  const auto took_ms = std::chrono::duration_cast<std::chrono::milliseconds>(look_took_).count();
  const auto worth = std::max(kWorthALook, 2 * static_cast<std::uint64_t>(took_ms) * kPagesPerMillisecond);
  const State state = state_.load(std::memory_order_acquire);
  const bool known = (state == State::kLikely || state == State::kFound) && find_failed_.empty();
  const bool slow = looking_into_took_ > kWorthLookingInto * static_cast<std::int64_t>(looked_into_);
  if (!known || slow || board_.waiting() < worth) return;
  const Instant begin = clock_.now();
  if (begin < next_look_ && !just_harvested) return;
  for (std::uint32_t c = 0; c < board_.chunk_count(); ++c) words_[c] = board_.peek(ChunkIndex{c});
  const Status status = finder_->find(words_);
  if (!status) {
    find_failed_ = status.error().message;
    return;
  }
  std::uint64_t taken_off = 0;
  for (std::uint32_t c = 0; c < board_.chunk_count(); ++c) {
    if (words_[c] == 0) continue;
    const ChunkIndex chunk{c};
    const PageWord withdrawn = board_.withdraw(chunk, words_[c]);
    if (withdrawn == 0) continue;
    left_out_.add(chunk, withdrawn);
    unseen_[c] |= withdrawn;
    first_unseen_ = std::min(first_unseen_, c);
    taken_off += page_count(withdrawn);
  }
  any_left_out_ |= taken_off != 0;
  looked_ |= taken_off < kWorthALook;
  const Instant end = clock_.now();
  look_took_ = end - begin;
  shortest_look_ = std::min(shortest_look_.value_or(look_took_), look_took_);
  next_look_ = end + std::max(taken_off >= kWorthALook ? kLookSoonAgain : kLookSeldomEvery, kLookPart * look_took_);
}

bool FreePageFilter::looked() const noexcept {
  const State state = state_.load(std::memory_order_acquire);
  return looked_ || !find_failed_.empty() || state == State::kOff || state == State::kNothing;
}

bool FreePageFilter::check_some(Duration at_most) {
  if (!any_left_out_) return false;
  if (state_.load(std::memory_order_acquire) != State::kNothing) return look_into_some(at_most);
  std::ranges::fill(words_, PageWord{0});
  post_all_but_words();
  any_left_out_ = false;
  board_.announce();
  return true;
}

bool FreePageFilter::look_into_some(Duration at_most) {
  Instant now = clock_.now();
  const Instant until = now + at_most;
  bool posted = false;
  while (now < until) {
    const auto next = std::find_if(unseen_.begin() + first_unseen_, unseen_.end(), std::identity{});
    first_unseen_ = static_cast<std::uint32_t>(next - unseen_.begin());
    if (next == unseen_.end()) break;
    const std::uint32_t first = first_unseen_;
    const auto count = std::min<std::size_t>(kChunksAtOnce, unseen_.size() - first);
    const std::span<PageWord> unseen(&unseen_[first], count);
    const std::span<PageWord> needed(&words_[first], count);
    std::ranges::copy(unseen, needed.begin());
    for (const PageWord pages : unseen) looked_into_ += page_count(pages);
    const Status status = finder_->keep_needed(ChunkIndex{first}, needed);
    if (!status) {
      find_failed_ = status.error().message;
      std::ranges::copy(unseen, needed.begin());
    }
    std::ranges::fill(unseen, PageWord{0});
    for (std::uint32_t c = first; c < first + count; ++c) {
      const PageWord must_travel = words_[c] & left_out_.of(ChunkIndex{c});
      left_out_.drop(ChunkIndex{c}, must_travel);
      board_.post(ChunkIndex{c}, must_travel);
      posted |= must_travel != 0;
    }
    const Instant begun = std::exchange(now, clock_.now());
    looking_into_took_ += now - begun;
  }
  if (posted) board_.announce();
  return posted;
}

bool FreePageFilter::has_unchecked() const noexcept {
  return any_left_out_ && (state_.load(std::memory_order_acquire) != State::kFound || first_unseen_ < unseen_.size());
}

void FreePageFilter::give_up_locating() {
  locator_ = {};
}

bool FreePageFilter::copy_left_out() {
  bool any = false;
  for (std::uint32_t c = 0; c < words_.size(); ++c) any |= (words_[c] = left_out_.of(ChunkIndex{c})) != 0;
  return any;
}

void FreePageFilter::rehearse() {
  const Instant begin = clock_.now();
  if (!any_left_out_ || has_unchecked() || begin < next_rehearsal_) return;
  if (!copy_left_out()) return;
  finder_->keep_free(words_);
  const Duration took = clock_.now() - begin;
  rehearsals_.add(took);
  next_rehearsal_ = begin + std::max(kRehearseEvery, kRehearsalPart * took);
}

Duration FreePageFilter::look_takes() const noexcept {
  if (!any_left_out_) return {};
  return rehearsals_.least().value_or(shortest_look_.value_or(Duration{}));
}

bool FreePageFilter::give_up_if_slow(Duration room) {
  if (!any_left_out_ || !rehearsals_.full() || look_takes() <= room) return false;
  find_failed_ = "to look at them again would pause the guest for longer than --max-downtime allows";
  std::ranges::fill(words_, PageWord{0});
  post_all_but_words();
  any_left_out_ = false;
  board_.announce();
  return true;
}

void FreePageFilter::post_taken_into_use() {
  if (!any_left_out_ || !copy_left_out()) return;
  // Whatever the finder knows by now, even nothing: what it does not call free goes.
  if (has_unchecked()) {
    std::ranges::fill(words_, PageWord{0});
  } else {
    finder_->keep_free(words_);
  }
  post_all_but_words();
}

/// Of what was left out.
void FreePageFilter::post_all_but_words() {
  for (std::uint32_t c = 0; c < words_.size(); ++c) {
    const ChunkIndex chunk{c};
    const PageWord in_use = left_out_.of(chunk) & ~words_[c];
    left_out_.drop(chunk, in_use);
    board_.post(chunk, in_use);
  }
}

std::uint64_t FreePageFilter::pages() const noexcept {
  std::uint64_t sum = 0;
  for (std::uint32_t c = 0; c < board_.chunk_count(); ++c) sum += page_count(left_out_.of(ChunkIndex{c}));
  return sum;
}

std::string FreePageFilter::finding() const {
  switch (state_.load(std::memory_order_acquire)) {
    case State::kFound:
      return find_failed_.empty() ? "found" : find_failed_;
    case State::kLooking:
    case State::kLikely:
      return "still looking when the guest was stopped";
    case State::kOff:
    case State::kNothing:
      break;
  }
  return why_not_;
}

}  // namespace godwit
