// How many threads encode beside the lanes: as many as there are CPUs idle, looked at all the while.
#pragma once

#include <sys/types.h>

#include <optional>
#include <span>
#include <thread>

#include "base/clock.h"
#include "codec/encoder_pool.h"
#include "host/idle_cpus.h"

namespace godwit {

/// How many threads a pool may have next. Pure. `idle`: CPUs' worth of time that nobody has used lately, with the pool
/// at work as it is.
///
/// Threads take what is idle less half a CPU, two at a time, because others may want the same CPUs; and they give up a
/// quarter at once where next to nothing is left idle: whoever else runs there, a guest's vCPUs before all, comes
/// first.
unsigned next_encoding_threads(const EncoderPool::Use& use, unsigned most, double idle) noexcept;

/// The encoders of one migration's lanes, and the thread that looks at the CPUs.
class EncodingThreads {
 public:
  /// `most`: none asked for: a thread for each CPU that neither the lanes nor pinned vCPUs have. `vcpus` are threads.
  EncodingThreads(std::optional<unsigned> most, unsigned lanes, std::span<const pid_t> vcpus, const Clock& clock);

  EncoderProvider& encoders() noexcept { return pool_; }
  EncoderPool::Use use() const { return pool_.use(); }
  /// The guest will be paused soon: nothing is started any more that could be late or fail.
  void settle() noexcept { pool_.start_no_more(); }

 private:
  void run(const std::stop_token& stop);

  const Clock& clock_;
  cpu_set_t cpus_;
  SoftwareEncoders software_;
  EncoderPool pool_;
  std::jthread thread_;
};

}  // namespace godwit
