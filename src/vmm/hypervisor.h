// The hypervisor as the engine sees it: a VM that can be stopped, handed over and resumed.
//
// Two interfaces, one for each end. No default bodies: forgetting a method must not compile.
//
//   source:  open_handover -> (copying) -> order_handover -> [guest_stopping] -> guest_stopped -> device bytes ... ->
//   stream_ended sink:    open_incoming -> load ... -> finish_load -> await_loaded -> (commit) -> resume -> announce
//
// What happens at the switchover must not depend on who caused it: the engine asks for the guest to be stopped and is
// told when it is paused, whichever way that came about.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/result.h"
#include "memory/guest_memory.h"
#include "memory/missing_pages.h"
#include "vm/device_way.h"
#include "vm/fingerprint.h"

namespace godwit {

/// Why a guest does not run at the source, where that is not the engine's doing.
struct Halt {
  enum class Kind {
    kPaused,  ///< it is paused; whoever paused it can let it run on
    kEnded,   ///< it has shut down or crashed, or its hypervisor has ended
  };
  Kind kind = Kind::kPaused;
  std::string what;  ///< "the guest has shut down"
};

/// Told about a hand-over by the hypervisor's threads. A failed Status from a method ends the hand-over.
class HandoverObserver {
 public:
  virtual ~HandoverObserver() = default;
  /// The guest is being stopped: its pause began at this instant. For the ledger; comes from another thread than the
  /// others, and may come a little after guest_stopped().
  virtual void guest_stopping(Instant at) = 0;
  /// What it told of at that instant was somebody else's doing, and no disk is waited for: the hypervisor goes on with
  /// what it has to do before its own stop, with the guest paused. From another thread, too.
  virtual void guest_stopped_by_others(Instant at) = 0;
  /// A piece of the device stream for the sink; the bytes live during the call. May block: that holds the hypervisor
  /// back.
  virtual Status device_bytes(Bytes bytes) = 0;
  /// vCPUs are stopped and disk requests have ended: RAM does not change any more. Device bytes after this need all of
  /// RAM in place at the sink before they are loaded.
  virtual Status guest_stopped(Instant at) = 0;
  /// So many bytes of RAM that the hypervisor sends itself fit into the pause, as fast as the link has been seen to
  /// take them; the largest number where nothing was seen. Any thread.
  virtual std::uint64_t fits_into_pause() const = 0;
  /// The device stream is complete. `dropped`: bytes of RAM that the hypervisor sent too and that were not passed on.
  virtual Status stream_ended(Instant at, std::uint64_t dropped) = 0;
  /// No more calls will come. The guest may be paused: roll_back() makes it run. May come after stream_ended() as well,
  /// until finish(): somebody has changed the VM. After a commit it means nothing any more.
  virtual void handover_failed(Error error) = 0;
};

/// The VM that is moved. Called from the coordinator's thread, except for interrupt().
class SourceVm {
 public:
  virtual ~SourceVm() = default;
  virtual const Fingerprint& fingerprint() const noexcept = 0;
  /// What is to be moved: all RAM if devices go directly, else main memory; the numbering of main memory is the same.
  virtual GuestMemory& memory() noexcept = 0;
  /// kDirect if the VM can go so, until use() says otherwise.
  virtual DeviceWay way() const noexcept = 0;
  /// Why it is kStream, as a phrase; empty where that was asked for.
  virtual const std::string& why_stream() const noexcept = 0;
  /// What the sink can do decides; kStream is always possible. Before memory() is used, and before open_handover().
  virtual Status use(DeviceWay way, std::string why_stream) = 0;
  /// Since the hand-over stopped the guest nobody has let it run here, as far as the hypervisor has told. Asks nobody.
  virtual bool still_paused() const noexcept = 0;
  /// The guest had been paused before the engine came: it is moved as it is, and arrives paused. Nobody's word but
  /// its own may let it run.
  virtual bool starts_paused() const noexcept = 0;
  /// The same, or somebody else has paused it since: move_as_paused(), or the hand-over has found it so.
  virtual bool moves_paused() const noexcept = 0;
  /// Before order_handover(), when halted() has told that somebody else, or a disk error, has paused the guest: from
  /// here on it is moved as it is. False: it cannot be; then halted() tells so as ever.
  virtual bool move_as_paused() = 0;
  /// About so many bytes of device state will be sent while the guest is paused. For the prediction of the pause.
  virtual std::uint64_t expected_device_bytes() const noexcept = 0;
  /// Why the guest does not run, or runs although it is moved paused; nothing while all is as the engine has it.
  /// Often asked: asks the hypervisor only where that waits for nobody. After roll_back() it tells how that left the
  /// guest.
  virtual std::optional<Halt> halted() = 0;
  /// After order_handover(): whether roll_back() could still let the guest run. False once the hypervisor has ended.
  virtual bool can_take_back() const = 0;
  /// Stops the vCPUs and waits for disk requests to end. kRefused if the guest does not run: somebody else stopped it.
  /// Nothing to do for a guest that is moved paused.
  virtual Status pause() = 0;
  virtual Status resume() = 0;
  /// Looks again at what the VM consisted of when this object was made: its disks, devices, memory, and what is at work
  /// on them besides the guest. kRefused names what has changed. Before order_handover() at everything, which costs the
  /// hypervisor some milliseconds; after it only at what takes about one.
  virtual Status check_unchanged() = 0;
  /// kRefused names the change if the hypervisor has told of one since order_handover(). Asks nobody and waits for
  /// nobody: for the last moment before a commit.
  virtual Status told_of_no_change() const = 0;
  /// Once the sink has taken the VM: who is there. kRefused if the guest would not arrive in the state that it is in.
  virtual Status meet(const Fingerprint& sink) = 0;
  /// Before copying begins: gets ready to take the device state in, whichever way it will come. Asks the hypervisor for
  /// nothing. `observer` is called until roll_back(), finish() or the end.
  virtual Status open_handover(HandoverObserver& observer) = 0;
  /// How long the hypervisor will be at work on RAM of its own before it can stop the guest, so far as that can be done
  /// while RAM is copied. Zero: there is nothing that is worth beginning early.
  virtual Duration preparation() const { return {}; }
  /// After open_handover(), once: begins with it. The guest runs on, and is not stopped before order_handover().
  virtual Status prepare_handover() { return {}; }
  /// Asks the hypervisor to stop the guest and save its devices, and returns at once; the guest still runs, and is
  /// stopped when the hypervisor has done what it must before.
  virtual Status order_handover(Duration max_downtime) = 0;
  /// Before a commit only: ends the hand-over if there is one, waits until the hypervisor agrees, and lets the guest
  /// run. A guest that this object has not stopped is left as it is: somebody else stopped or moved it, or it has ended
  /// by itself. After it no observer is called. Undoes every setting. Safe to call twice.
  virtual Status roll_back() = 0;
  /// After a commit: no observer is called any more, settings are put back; the guest stays stopped here for ever.
  virtual Status finish() = 0;
  /// Wakes whatever blocks in a method above, from any thread; they fail with kCancelled. roll_back() and finish() work
  /// on.
  virtual void interrupt() noexcept = 0;
};

/// The VM that takes over. Called from the sink coordinator's thread, except for interrupt().
class SinkVm {
 public:
  virtual ~SinkVm() = default;
  virtual const Fingerprint& fingerprint() const noexcept = 0;
  virtual GuestMemory& memory() noexcept = 0;
  /// As it was opened: kDirect only if that was offered.
  virtual DeviceWay way() const noexcept = 0;
  /// Why it is kStream although kDirect was offered, as a phrase.
  virtual const std::string& why_stream() const noexcept = 0;
  /// For a guest that is to run here before all of its memory is: nothing is missing before its begin(). kUnsupported,
  /// with the reason as a phrase. This object outlives it.
  virtual Result<std::unique_ptr<MissingPages>> open_missing_pages() = 0;
  /// Gets the hypervisor ready to take in a device stream; may be called long before there is one, and costs
  /// milliseconds that are then not part of the pause. Before memory() is changed: kRefused if the hypervisor does not
  /// wait for a VM any more. Until the first load() the hypervisor waits on unharmed if this migration is given up.
  virtual Status open_incoming() = 0;
  /// A piece of the device stream. May block while the hypervisor digests.
  virtual Status load(Bytes bytes) = 0;
  /// The device stream is complete.
  virtual Status finish_load() = 0;
  /// The guest has been stopped at the source, and its devices are not here yet: a last look whether this VM is still
  /// what was compared. kRefused if not.
  virtual Status check_unchanged() = 0;
  /// Waits until the hypervisor has loaded everything and is ready. kHypervisor with its reason if it failed.
  virtual Status await_loaded(Duration timeout) = 0;
  /// Lets the guest run; returns once it does. The only way in which a guest ever starts here. kRefused if the
  /// hypervisor refuses, and the guest has not run: it may be asked again. After any other error the guest may run.
  virtual Status resume() = 0;
  /// After a resume() that was refused: ends the hypervisor, and returns once its process is gone. An error if the
  /// guest may have run, or may still: then nothing is certain.
  virtual Status end_unrun() = 0;
  /// In place of resume() and announce() for a guest that is moved paused: it is there, complete, and stays so.
  /// Settings are put back as well as can be. Any error: it is not certain that it is there.
  virtual Status stay_paused() = 0;
  /// Tells the network where the guest is now (RARP, gratuitous ARP by the hypervisor). Settings are put back, whether
  /// that fails or not.
  virtual Status announce() = 0;
  /// After resume(): these pages were filled by this engine and may be mapped ahead of the guest's first touch. Best
  /// effort, microseconds a chunk.
  virtual void warm_up(ChunkIndex chunk, PageWord pages) noexcept = 0;
  /// Ends an incoming migration that was not committed. A hypervisor that has loaded part of a stream ends itself, or
  /// stays and takes in no other VM (QEMU from 9.1 on): its error has said so. One that has not waits for another.
  /// Settings are put back. Never lets the guest run.
  virtual void give_up() noexcept = 0;
  /// kHypervisor if the hypervisor has ended. Asks nobody; any thread.
  virtual Status check_alive() const = 0;
  /// Before resume(): the same, and kHypervisor if the hypervisor has told before the first load() that somebody else
  /// uses it: lets a guest run in it, or has it take in another one. Asks nobody; any thread.
  virtual Status check_waits() const = 0;
  virtual void interrupt() noexcept = 0;
};

}  // namespace godwit
