// Where a lane's encoders come from: one wire format may be encoded by the CPU or by one of several devices.
//
//   app --wires--> EncoderProvider (owns devices and their queues) --lend()--> Encoder, one lane's --> jobs
#pragma once

#include <memory>
#include <optional>

#include "codec/codec.h"

namespace godwit {

/// Outlives every encoder that it has lent. Called from any lane's thread at once.
///
/// A provider for a device opens it once, keeps its queues, and lends each lane an encoder on a queue of its own or on
/// a shared one, which is then the provider's to lock. Where it has no device for the choice, or no queue left, it
/// lends a software encoder of the same wire format: a lane need not know.
class EncoderProvider {
 public:
  virtual ~EncoderProvider() = default;
  /// An encoder for this choice, whose id() is choice.id; null: there is none, and blocks go raw, as for CodecId::kRaw.
  /// `given_up`: how many encoders this lane has had for the choice and has given up, because they failed: whoever has
  /// another kind of them lends that next.
  virtual Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned given_up) = 0;
  /// What the governor may choose beside the CPU's codec levels; nothing: no device.
  virtual std::optional<CodecChoice> offers() const noexcept { return std::nullopt; }
};

/// The libraries of this program, one encoder for each choice (make_encoder()).
class SoftwareEncoders final : public EncoderProvider {
 public:
  Result<std::unique_ptr<Encoder>> lend(const CodecChoice& choice, unsigned given_up) override;
};

}  // namespace godwit
