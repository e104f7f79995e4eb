// Post-copy at the sink: the guest runs here before all of it has come.
//
//   MissingMap ... MissingMapEnd --begin()--> taken away; touches: [wait] --PageRequest--> source
//   the same once more, perhaps several times --take_away_more()--> taken away
//   [the guest is paused at the source] MissingMap ... MissingMapEnd --take_away_more()--> taken away
//   lanes, and the urgent connection --MissingPlacer--> in place --> all there
//
// A page that is not there and is not missing either was never written: the guest gets zeros.
#pragma once

#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "engine/missing_placer.h"
#include "engine/sink_lane.h"
#include "engine/source_session.h"

namespace godwit {

class PostcopySink {
 public:
  struct Parts {
    std::unique_ptr<MissingPages> pages;
    std::unique_ptr<Channel> urgent;
    const RamLayout& layout;
    const Kernels& kernels;
    DecoderProvider& decoders;
    std::string id;                        ///< of the migration
    std::function<void(Error)> on_failed;  ///< from any thread
    std::function<void()> on_all_there;    ///< from the thread that has put the last page in place
  };
  explicit PostcopySink(Parts parts);
  ~PostcopySink() { stop(); }

  /// The coordinator's, before begin(): pages are asked for on this connection.
  void use(std::unique_ptr<Channel> urgent) { parts_.urgent = std::move(urgent); }
  /// The coordinator's.
  Status add(const wire::MissingMap& map) { return placer_.add(map); }
  /// What was added is taken away, and whoever touches it is heard.
  Status begin();
  /// The same with what was added since.
  Status take_away_more();
  /// All has been taken away: what comes on the urgent connection is put in place from now on, and not before.
  void take_urgent();
  bool begun() const noexcept { return begun_; }
  MissingPlacer& placer() noexcept { return placer_; }
  const MissingPlacer& placer() const noexcept { return placer_; }
  std::string trace() const { return parts_.pages->trace(); }
  /// All is there: nobody waits any more.
  Status end();
  void bear_silence(Duration dead_after) noexcept { parts_.urgent->link().bear_silence(dead_after); }
  void abort() noexcept { parts_.urgent->abort(); }
  /// Aborts and joins. What is missing stays so.
  void stop();
  std::uint64_t bytes_received() const { return parts_.urgent->link().bytes_received(); }

 private:
  Status serve_touches(const std::stop_token& stop);
  Status serve(const Touch& touch);
  Status serve(ChunkIndex chunk, PageWord pages);

  Parts parts_;
  MissingPlacer placer_;
  SinkLaneSetting lane_setting_;
  std::vector<PageWord> asked_;  ///< of the thread that asks
  std::mutex taking_;            ///< what is not missing gets zeros, and nothing is taken away meanwhile
  bool begun_ = false;
  std::jthread touches_;
  std::jthread urgent_;
};

/// All of the guest's memory is here: on record first, then the source is told, which may let go of its own.
void tell_all_there(SinkContext& context, SourceSession& session);

}  // namespace godwit
