// The first words of a connection, as they trickle in: a greeting, and for a control connection the Hello after it.
//
//   room() --bytes as they come--> advance() ... complete()
//
// Nothing is read that may belong to what comes after it.
#pragma once

#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "wire/messages.h"

namespace godwit::wire {

class Opening {
 public:
  Opening();
  /// Where the next bytes go; empty once it is complete.
  MutableBytes room() noexcept;
  /// So many bytes of room() have come. kProtocol as soon as they cannot be ours; it is of no use any more then.
  Status advance(std::size_t bytes);

  bool complete() const noexcept { return complete_; }
  /// It began as every version of Godwit does: an answer would be understood.
  bool from_godwit() const noexcept { return from_godwit_; }
  /// As soon as it is whole.
  const std::optional<Greeting>& greeting() const noexcept { return greeting_; }
  /// The Hello of a control connection that is complete.
  Hello take_hello() noexcept { return std::move(hello_); }

 private:
  enum class Part { kMagic, kVersioned, kGreeting, kHeader, kBody };
  Status finish_part();
  Status read_header();
  void expect(Part part, std::size_t bytes);

  Part part_ = Part::kMagic;
  std::vector<std::byte> bytes_;  ///< of the greeting so far; then of one part of Hello
  std::size_t have_ = 0;
  bool complete_ = false;
  bool from_godwit_ = false;
  std::optional<Greeting> greeting_;
  Hello hello_;
};

}  // namespace godwit::wire
