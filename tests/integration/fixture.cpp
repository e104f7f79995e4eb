#include "tests/integration/fixture.h"

#include <cstdlib>

namespace godwit::testing {

bool lacks_something(const Error& error) {
  return error.kind == ErrorKind::kNotFound || error.kind == ErrorKind::kUnsupported ||
         error.kind == ErrorKind::kNoPermission;
}

std::filesystem::path guest_image() {
  const char* path = std::getenv("GODWIT_TEST_GUEST");
  return path == nullptr ? "" : path;
}

Result<Pair> start_pair(const QemuOptions& options) {
  return start_pair(options, options);
}

Result<Pair> start_pair(const QemuOptions& source, QemuOptions sink) {
  sink.incoming = true;
  Pair pair;
  pair.source = TRY_IN("source", TestQemu::start(source));
  pair.sink = TRY_IN("sink", TestQemu::start(sink));
  if (!source.guest.empty()) TRY_IN("source", wait_for_guest(*pair.source));
  return pair;
}

Status migrate_by_qemu(Pair& pair) {
  const std::string uri = "unix:" + (pair.sink->folder() / "migration").string();
  TRY(pair.source->stop());
  TRY(pair.sink->monitor().execute("migrate-incoming", {{"uri", uri}}));
  TRY(pair.source->monitor().execute("migrate", {{"uri", uri}}));
  std::string status;
  const bool ended = wait_until(
      [&] {
        const auto answer = pair.source->monitor().execute("query-migrate");
        status = answer ? answer->value("status", "") : answer.error().message;
        return status == "completed" || status == "failed" || !answer;
      },
      seconds(120));
  if (!ended || status != "completed") return fail(ErrorKind::kHypervisor, "QEMU's own migration: " + status);
  const bool loaded = wait_until([&] { return pair.sink->status().value_or("") == "paused"; }, seconds(30));
  if (!loaded) return fail(ErrorKind::kHypervisor, "QEMU's own migration did not arrive");
  return {};
}

}  // namespace godwit::testing
