// What is told of an accelerator: what it is, and what it has done.
#pragma once

#include <cstdint>
#include <string>

namespace godwit {

/// What a device has done in a migration, all lanes together.
struct AcceleratorUse {
  std::uint64_t blocks = 0;        ///< by the device
  std::uint64_t bytes_before = 0;  ///< of those
  std::uint64_t bytes_after = 0;
  std::uint64_t busy = 0;      ///< blocks that it had no room for, or was late with while the link had nothing to send
  std::uint64_t failed = 0;    ///< blocks that it took and did not encode
  std::uint64_t in_place = 0;  ///< of the blocks: read in guest RAM
  std::uint64_t changed = 0;   ///< blocks that it has read there while they were written to: copied, and by the CPU
  std::string given_up;        ///< why; empty: it has not been
};

/// What an operator wants to know of it.
struct AcceleratorFacts {
  std::string name;        ///< "qat", "iaa"; "qat (MODEL)": so that no figure of a model's is taken for a device's
  std::string library;     ///< its file, and its version where it tells it
  std::string model;       ///< what it says of itself if it is a model of a device; empty: a device
  unsigned devices = 0;    ///< 0: not known
  unsigned instances = 0;  ///< requests that are worked on side by side; 0: not known
  bool direct = false;     ///< reads memory where it is; else it is copied into memory of its own

  /// Of the codec "qat" what `name` says.
  std::string name_of_codec(const std::string& codec) const;
  /// "qat, 2 devices, 8 instances, copied (libqatzip.so.3)"; a model is named as one, and guest RAM where it is read.
  std::string text(const AcceleratorUse& use = {}) const;
};

struct AcceleratorReport {
  AcceleratorFacts facts;
  AcceleratorUse use;
};

}  // namespace godwit
