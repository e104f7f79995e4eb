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
  void free(std::list<Session>::iterator session);

  // With the mutex.
  Status waiting_may_go_on(const std::stop_token& stop) const;
  Status collect_lanes(const wire::Secret& secret, unsigned count, std::vector<GreetedLane>& have);
  const Session* session_of(const wire::Secret& secret) const;
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
  std::vector<GreetedSource> late_;    ///< that have waited for too long
  std::vector<ParkedLane> lanes_;
  std::optional<Error> ended_;
  LinkTests link_tests_;  ///< the greeter's thread's
  Greeter greeter_;       ///< last: its thread works on the others
};

}  // namespace godwit
