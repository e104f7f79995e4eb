// The journal: what a migration has done to a VM, kept where the next engine finds it if this one dies.
//
// One small file per VM process in a folder that lasts as long as the host is up (a tmpfs: if the host goes, the VM
// goes with it). The engine holds a lock on the file while it is alive, so a dead engine needs no guessing. The file
// holds how far the engine has come (its state), a mark that tells the guest's stop from those that others make, and
// the hypervisor's settings as they were before the engine changed any. After them it says which migration it was.
//
//   source:  migrating <--> pausing --> paused (for a harvest; back to migrating)
//            migrating ---> handing-over --> stopped --(commit is journaled, then sent)--> committed
//                                              ^------(the sink: it never ran here)-----------'
//   sink:    receiving --(a commit was read)--> starting
//
//   migrating:             the guest was not touched: if it is paused, somebody else paused it
//   pausing, handing-over: the engine was about to stop the guest, and had not seen it paused
//   paused, stopped:       it had; the destination cannot run it. If the mark still fits it may be let run on here
//   committed:             the guest must never run here again
//   following:             the same, and the destination may lack memory that only this hypervisor has (post-copy)
//   receiving:             the guest has not been let run here
//   starting:              the source has given the guest up: it runs here, or nowhere
//   lacking:               the same, and it may wait for memory that only the source's hypervisor has
#pragma once

#include <memory>
#include <mutex>
#include <string>

#include "engine/journal_file.h"
#include "engine/missing_record.h"
#include "vmm/vm_record.h"

namespace godwit {

/// Its methods from any thread, one at a time inside.
class Journal final : public VmRecord {
 public:
  enum class State {
    kNone,
    kMigrating,
    kPausing,
    kPaused,
    kHandingOver,
    kStopped,
    kCommitted,
    kReceiving,
    kStarting,
    kFollowing,
    kLacking,
  };
  /// What an earlier engine left.
  struct Found {
    State state = State::kNone;
    std::string mark;      ///< of the guest's stop; empty if it was not seen
    std::string settings;  ///< as they were; empty if none were changed, or all were put back
    std::string id;        ///< of the migration (base/migration_id.h); empty if it had none
  };

  /// Opens (or makes) the VM's journal and locks it. kRefused if an engine that is alive holds it. Removes journals of
  /// processes that are gone.
  static Result<Journal> open(const std::string& folder, const VmProcess& vm);
  /// Reads what an earlier engine left without making or keeping anything; kNone where there is no journal. kRefused if
  /// an engine that is alive holds it.
  static Result<State> peek(const std::string& folder, const VmProcess& vm);

  Journal(Journal&&) = default;
  ~Journal() override = default;

  State found() const noexcept { return found_.state; }
  const Found& left() const noexcept { return found_; }
  const std::string& path() const noexcept { return path_; }

  /// Which migration this is: on record with the state from the next call on, or at once if there is one. kReceiving
  /// forgets it.
  Status name_migration(std::string_view id);
  Status begin() { return enter(State::kMigrating); }
  /// Before the guest is stopped for a harvest; begin() takes it back.
  Status pausing() { return enter(State::kPausing); }
  /// Before the hypervisor is asked to hand the guest over.
  Status handing_over() { return enter(State::kHandingOver); }
  /// On return the decision is on record: the guest never runs here again. To be called before Commit is sent.
  Status commit() { return enter(State::kCommitted); }
  /// The same where memory follows the guest; commit() again when all of it is there.
  Status commit_early() { return enter(State::kFollowing); }
  /// After a commit, on the sink's word that the guest never ran there and never will: it may run here.
  Status take_back() { return enter(State::kStopped); }
  Status receiving() { return enter(State::kReceiving); }
  /// A commit has been read.
  Status starting() { return enter(State::kStarting); }
  /// The same where memory is missing; starting() again when nothing is.
  Status starting_early() { return enter(State::kLacking); }
  /// Before starting_early(): what the guest will lack, beside the journal until clear().
  Status keep_missing(const MissingRecord& record) const;
  /// After it, before starting_early(), once: what the guest will lack besides.
  Status keep_missing_besides(std::span<const MissingBesides> besides) const;
  /// What has come of that since, for whoever puts more in place.
  Result<ArrivedMap> arrived() const { return map_arrived(missing_path()); }
  /// It lacks nothing any more.
  Status nothing_missing() const;
  /// What an earlier engine has kept for this migration. kNotFound, kRefused as read_missing_record(); kRefused if it
  /// is another migration's.
  Result<MissingRecord> missing() const;
  /// Nothing to remember about the guest. The file stays if there are settings that could not be put back.
  void clear() noexcept;

  // VmRecord
  Status keep_settings(std::string_view settings) override;
  void settings_put_back() noexcept override;
  Status guest_stands(std::string_view mark) override;

 private:
  Journal(std::string path, UniqueFd fd, Found found);
  Status enter(State state);
  Status write();
  std::string missing_path() const { return missing_record_path(path_); }

  std::string path_;
  UniqueFd fd_;
  Found found_;
  std::unique_ptr<std::mutex> mutex_ = std::make_unique<std::mutex>();  ///< guards what follows, and the file
  State state_ = State::kNone;
  std::string mark_;
  std::string id_;
  bool settings_kept_ = false;
};

}  // namespace godwit
