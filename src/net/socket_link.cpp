#include "net/socket_link.h"

#include <algorithm>

#include "net/socket_channel.h"

namespace godwit {

SendQueue SocketLink::send_queue() noexcept {
  // The kernel forgets after some minutes, in which a queue of our own may have been part of all round trips.
  const Duration seen = shortest_round_trip(socket_.get());
  if (round_trip_ == Duration::zero() || seen < round_trip_) round_trip_ = seen;
  return {unconfirmed_bytes(socket_.get()), round_trip_};
}

void SocketLink::bear_silence(Duration dead_after) noexcept {
  (void)set_liveness(socket_.get(), dead_after);
}

Duration SocketLink::queueing() const noexcept {
  return round_trip_excess(socket_.get());
}

void SocketLink::count_wait(Duration waited) noexcept {
  const Duration held_back = held_back_by_receiver(socket_.get());
  waits_.total += waited;
  waits_.for_receiver += std::clamp(held_back - held_back_, Duration::zero(), waited);
  held_back_ = held_back;
}

}  // namespace godwit
