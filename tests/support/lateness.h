// How late, and how unreliable, a codec is that stands for a device.
#pragma once

#include <cstddef>

namespace godwit::testing {

/// Odds in percent, of each job.
struct Lateness {
  std::size_t depth = 8;
  unsigned refused = 10;   ///< at submit()
  unsigned not_taken = 5;  ///< submit() ends with an error
  unsigned failed = 10;    ///< in its answer
  unsigned answered = 40;  ///< with each poll()
  bool ever_answers = true;
  bool another = true;      ///< there is a further one for one that was given up
  bool counted = true;      ///< whoever submits is to know how many are under way
  unsigned dies_after = 0;  ///< polls after which poll() and collect() end with an error; 0: never
};

}  // namespace godwit::testing
