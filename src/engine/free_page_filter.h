// Takes pages that the guest has free off the board, and makes good at the end what was not free after all.
//
//   own thread:   locate ... likely ........................ sure; if not, all that was left out is posted
//   coordinator:  harvest | find, withdraw | look into some, post what must travel | harvest | ... | guest stopped:
//                 what is not free any more is posted
//
// Why a withdrawn page is not missed: it was free at a moment t after tracking had begun. Finding and withdrawing
// happen on the thread that harvests, between two harvests, so no write after t has been posted yet: the next harvest
// finds it.
//
// First withdrawn, then made sure of, because lanes would send free pages while these are looked at: that no
// other books fit the guest is known only when all of its memory has been searched, and which free pages it wants to
// find as it left them only when each has been looked at. The hand-over waits until both are certain.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "engine/least_of_latest.h"
#include "engine/shared_page_words.h"
#include "memory/board.h"
#include "tracking/free_pages.h"

namespace godwit {

/// Coordinator's thread only.
class FreePageFilter {
 public:
  /// `finder` may be null: then nothing is ever free. `left_out` outlives it, as the others do.
  FreePageFilter(FreePages* finder, Board& board, SharedPageWords& left_out, const Clock& clock);

  /// Once tracking runs.
  void locate();
  /// Withdraws free pages from the board if it is worth a look; it is after a harvest more than else. Never once the
  /// hand-over has begun: pages that were given back are posted then, and must stay.
  void withdraw(bool just_harvested);
  /// What is free has been withdrawn, except for little, or cannot be told: no more need to send first the lowest
  /// memory, which is the least likely to be free.
  bool looked() const noexcept;
  /// Looks into some of what was left out, for about as long as told, and posts what must travel after all: of those,
  /// or all if it turned out that nothing should have been left out. Whether it posted any.
  bool check_some(Duration at_most);
  /// Pages have been left out of which it is not sure yet whether they may be: no time for the hand-over. It lasts as
  /// long as it takes to search all data for notes, and to look at every page left out.
  bool has_unchecked() const noexcept;
  /// Does what post_taken_into_use() will do, except for posting anything, to learn how long that takes; after a
  /// harvest, and not more often than is worth it.
  void rehearse();
  /// What the look at the pause will take: the shortest of the latest rehearsals, because others were held up; before
  /// there is one, of the looks so far.
  Duration look_takes() const noexcept;
  /// It would take longer than `room`, not only because this thread was held up: all that was left out travels, and
  /// nothing is left out any more. Whether that was so.
  bool give_up_if_slow(Duration room);
  /// The guest's stop is near: it is not waited for any longer.
  void give_up_locating();
  /// The guest is paused: posts every page left out that is not free any more. Announces nothing.
  void post_taken_into_use();

  /// Pages that never went because they were free.
  std::uint64_t pages() const noexcept;
  /// "found", or why free pages could not be told.
  std::string finding() const;

 private:
  bool copy_left_out();
  void post_all_but_words();
  bool look_into_some(Duration at_most);

  enum class State { kOff, kLooking, kLikely, kFound, kNothing };

  FreePages* finder_;
  Board& board_;
  SharedPageWords& left_out_;
  const Clock& clock_;
  std::vector<PageWord> words_;
  std::atomic<State> state_{State::kOff};   ///< where the locator is
  std::string why_not_ = "not looked for";  ///< set before state_
  std::string find_failed_;                 ///< why, since when it is not tried again
  bool any_left_out_ = false;
  bool looked_ = false;
  std::vector<PageWord> unseen_;    ///< left out, and not looked into
  std::uint32_t first_unseen_ = 0;  ///< no chunk before it has any
  Instant next_look_{};
  Duration look_took_{};
  std::optional<Duration> shortest_look_;
  LeastOfLatest<Duration, 4> rehearsals_;
  Instant next_rehearsal_{};
  Duration looking_into_took_{};  ///< of all pages looked into
  std::uint64_t looked_into_ = 0;
  std::jthread locator_;
};

}  // namespace godwit
