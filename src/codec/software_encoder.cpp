// One job in, one answer out, and who lends such encoders.
#include "codec/software_encoder.h"

#include <fmt/core.h>

#include "codec/encoder_provider.h"

namespace godwit {

Result<std::size_t> SoftwareEncoder::submit(std::span<const EncodeJob> jobs) {
  if (jobs.empty() || done_) return std::size_t{0};
  const EncodeJob& job = jobs.front();
  if (job.input.size() > kLongestBlock || job.output.size() < job.input.size()) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("a block of {} bytes cannot be encoded into {}", job.input.size(), job.output.size()));
  }
  // What is not a byte shorter at least is better sent raw.
  const std::size_t size = job.input.empty() ? 0 : TRY(encode(job.input, job.output.first(job.input.size() - 1)));
  done_ = EncodeDone{.ticket = job.ticket, .size = size};
  return std::size_t{1};
}

Result<std::size_t> SoftwareEncoder::poll(std::span<EncodeDone> done) {
  if (!done_ || done.empty()) return std::size_t{0};
  done.front() = *done_;
  done_.reset();
  return std::size_t{1};
}

Result<std::size_t> SoftwareEncoder::collect(std::span<EncodeDone> done, std::stop_token stop) {
  return stop.stop_requested() ? Result<std::size_t>(0) : poll(done);
}

Result<std::unique_ptr<Encoder>> SoftwareEncoders::lend(const CodecChoice& choice, unsigned given_up) {
  if (given_up > 0) return std::unique_ptr<Encoder>();  // the same library would fail the same way
  return make_encoder(choice);
}

}  // namespace godwit
