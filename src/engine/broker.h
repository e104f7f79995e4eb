// One listener that serves many migrations: brings each connection to the one whose secret it shows.
//
//   greeter --> sources, whose secret is new --await_source()--> Place: a migration with its source
//          |--> lanes, by their secret ------await_lanes()-----> the place with that secret
//          +--- no place free, a secret that is not in use: turned away, by name
//
// There are as many places as VMs can be taken in at a time. Until a place is settled, its source may still be lost, so
// further sources wait for it, for as long as a source does; when all are settled, whoever comes is refused.
#pragma once

#include <condition_variable>
#include <deque>
#include <list>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "engine/greeter.h"
#include "engine/link_test.h"

namespace godwit {

class Broker final : private Desk {
 private:
  struct Session {
    wire::Secret secret{};
    std::optional<std::string> refusal;  ///< settled: what others are told
    // Of one whose source may come back once its link was lost:
    std::optional<wire::Secret> proof;  ///< what it shows then: the session's first secret
    std::function<void()> on_back;      ///< the greeter's thread, with the mutex: it has come back
    std::uint32_t attempt = 0;          ///< the latest
    std::optional<GreetedSource> back;  ///< waits to be taken
    bool takes_lanes = false;           ///< though it is settled: those of the source that has come back
  };

 public:
  /// Held by the migration that serves a source; free again when it goes. One thread's. The broker outlives it.
  class Place {
   public:
    Place(Place&& other) noexcept;
    Place& operator=(Place&&) = delete;
    ~Place();
    GreetedSource& source() noexcept { return source_; }
    /// The lanes 0 to `count` - 1 of the source, in rising order: `all`, or, where some do not come, those that have
    /// after a while. kPeerLost if too few have come in time; kProtocol if one came twice; kCancelled.
    Result<std::vector<GreetedLane>> await_lanes(unsigned count, bool all, const std::stop_token& stop = {});
    /// It is this source's for good, and has all its lanes. When all places are, others are refused; the only place of
    /// its broker gives the reason.
    void settle(std::string why_others_are_refused);
    /// From here on the source may come back in another connection, with the proof that it is the same. `on_back` is
    /// called then, from another thread, and must not wait; not any more once this place is gone.
    void let_come_back(std::function<void()> on_back);
    /// The source in its new connection, whose secret is the session's from here on: await_lanes() gives its lanes.
    /// kTimedOut; kCancelled.
    Result<GreetedSource> await_back(Duration at_most, const std::stop_token& stop = {});
    /// It has gone too far for that.
    void let_come_back_no_more();
    /// This side has given up, and the source, which may have lost its link, has perhaps not heard why: for so long one
    /// that comes back is told, also when this place is free again.
    void leave_word(std::string why, Duration at_most);

   private:
    friend class Broker;
    Place(Broker& broker, std::list<Session>::iterator session, GreetedSource source)
        : broker_(&broker), session_(session), source_(std::move(source)) {}
    Broker* broker_;
    std::list<Session>::iterator session_;
    GreetedSource source_;
  };

  /// As Greeter. `places`: at least 1.
  Broker(Listener& listener, const Clock& clock, unsigned places, OnNote on_note, Wrap wrap = {});
  /// A source, with a place of its own, as soon as there is both. kTimedOut after `patience` (zero: never), kCancelled
  /// when `stop` is requested or the listener aborted. From any number of threads.
  Result<Place> await_source(Duration patience, const std::stop_token& stop = {});
  /// Until every source that word was left for has come and been told, or its time is over, or `stop` is requested.
  void await_word_told(const std::stop_token& stop);

 private:
  struct ParkedLane {
    GreetedLane lane;
    wire::Secret secret{};
    Instant came;
  };

  struct WaitingSource {
    GreetedSource source;
    Instant came;
  };

  struct LeftWord {
    wire::Secret proof;  ///< that the source shows whom it is for
    std::string why;
    Instant until;
    bool told = false;
  };

  // Of the greeter's thread.
  std::vector<TurnedAway> take_source(GreetedSource source) override;
  std::vector<TurnedAway> take_lane(GreetedLane lane, const wire::Secret& secret,
                                    const std::function<bool(const wire::Secret&)>& hello_comes) override;
  std::vector<TurnedAway> take_link_test(std::unique_ptr<Channel> channel) override;
  std::vector<TurnedAway> clear_out() override;
  bool some_wait() const override;
  void listening_ended(const Error& error) override;

  Result<std::vector<GreetedLane>> await_lanes(const wire::Secret& secret, unsigned count, bool all,
                                               const std::stop_token& stop);
  void settle(Session& session, std::string why);
  Result<GreetedSource> await_back(Session& session, Duration at_most, const std::stop_token& stop);
  void leave_word(Session& session, std::string why, Duration at_most);
  void free(std::list<Session>::iterator session);

  // With the mutex.
  Status waiting_may_go_on(const std::stop_token& stop) const;
  Status collect_lanes(const wire::Secret& secret, unsigned count, std::vector<GreetedLane>& have);
  const Session* session_of(const wire::Secret& secret) const;
  bool is_closed_to(const wire::Secret& secret) const;
  std::optional<TurnedAway> take_back(GreetedSource source);
  std::string why_not_back(const wire::Secret& proof);
  bool waits(const wire::Secret& secret) const;
  std::optional<std::string> refusal() const;
  bool is_full_for(const wire::Secret& secret) const;
  void drop_late_sources();

  Listener& listener_;
  const Clock& clock_;
  const unsigned places_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::list<Session> sessions_;        ///< one for each place that is taken
  std::deque<WaitingSource> sources_;  ///< in the order in which they came
  std::vector<TurnedAway> leaving_;    ///< to be told so by the greeter
  std::deque<LeftWord> words_;         ///< for sources of sessions that are over
  std::vector<ParkedLane> lanes_;
  std::optional<Error> ended_;
  LinkTests link_tests_;  ///< the greeter's thread's
  Greeter greeter_;       ///< last: its thread works on the others
};

}  // namespace godwit
