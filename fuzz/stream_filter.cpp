// Feeds arbitrary bytes to the stream filter, whole and in pieces: no crash, the same answer both ways, and what comes
// out is never more than what went in.
#include "vmm/qemu/stream_filter.h"

#include <algorithm>
#include <cstdlib>
#include <string>

namespace {

using namespace godwit;

class Output final : public qemu::FilterOutput {
 public:
  Status pass(Bytes bytes) override {
    passed += text_of(bytes);
    return {};
  }
  Status ram_ends() override {
    ++ends;
    return {};
  }
  std::string passed;
  unsigned ends = 0;
};

struct Outcome {
  bool ok = false;
  std::string passed;
  unsigned ends = 0;
  std::uint64_t dropped = 0;
};

Outcome run(Bytes stream, std::size_t piece, bool ignore_shared) {
  Output out;
  qemu::FilterOptions options;
  options.dropped_blocks = {"pc.ram"};
  options.ignore_shared = ignore_shared;
  auto filter = qemu::make_stream_filter(options, out);
  Outcome outcome;
  outcome.ok = true;
  while (!stream.empty() && outcome.ok) {
    const std::size_t length = std::min(piece, stream.size());
    outcome.ok = filter->feed(stream.first(length)).has_value();
    stream = stream.subspan(length);
  }
  outcome.ok = outcome.ok && filter->finish().has_value();
  outcome.passed = std::move(out.passed);
  outcome.ends = out.ends;
  outcome.dropped = filter->dropped_bytes();
  return outcome;
}

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

// The first byte chooses the size of the pieces and the options; the rest is the stream.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Bytes stream = std::as_bytes(std::span(data + 1, size - 1));
  const bool ignore_shared = (data[0] & 0x80) != 0;
  const Outcome whole = run(stream, std::max<std::size_t>(stream.size(), 1), ignore_shared);
  const Outcome pieces = run(stream, (data[0] & 0x7fu) + 1, ignore_shared);
  require(whole.ok == pieces.ok);
  require(whole.ends == pieces.ends && whole.ends <= 1);
  require(whole.dropped == pieces.dropped);
  // A broken stream's last run may not have been passed yet when the break is found.
  require(whole.ok ? pieces.passed == whole.passed : pieces.passed.starts_with(whole.passed));
  require(whole.passed.size() + whole.dropped <= stream.size());
  if (whole.ok) require(whole.passed.size() + whole.dropped == stream.size() && whole.ends == 1);
  return 0;
}
