// `godwit keygen`: makes what the two ends of a move need to know each other, or revokes it. Touches no VM.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cstdio>
#include <ctime>

#include "app/commands.h"
#include "app/exit_code.h"
#include "app/printable.h"
#include "app/say.h"
#include "tls/keygen.h"

namespace godwit {

namespace {

constexpr std::time_t kSecondsOfADay = 86400;

void tell(const std::string& line) {
  say(stderr, printable(line) + "\n");
}

Status keygen_psk(const KeygenOptions& options) {
  TRY(make_shared_key_file(options.psk_file));
  tell(fmt::format("Made the shared key {}.", options.psk_file));
  tell(
      "Copy it, over a connection that nobody can read, to the other host; whoever has it can take in a VM, or send "
      "one.");
  return {};
}

Status keygen_hosts(const KeygenOptions& options) {
  const std::time_t now = std::time(nullptr);
  const std::time_t until = now + options.days * kSecondsOfADay;
  CaFolder ca = TRY(CaFolder::open_or_make(options.folder, now));
  if (ca.is_new()) tell(fmt::format("Made a CA in {}.", options.folder));
  for (const auto& names : options.hosts) TRY(ca.check_host(names));
  for (const auto& names : options.hosts) {
    const std::time_t end = TRY(ca.make_host(names, now, until));
    tell(fmt::format("Made {}, certificates and keys that are valid until {:%Y-%m-%d}.", ca.host_folder(names),
                     fmt::gmtime(end)));
  }
  const std::string& first = options.hosts.front().front();
  tell(
      fmt::format("Copy the files of {} to /etc/pki/qemu on {}, or name their folder by --tls-dir there; do the same "
                  "for each host.",
                  ca.host_folder(options.hosts.front()), first));
  tell(fmt::format("{}/ca-key.pem stays where it is: with it anybody can make certificates.", options.folder));
  return {};
}

Status keygen_revoke(const KeygenOptions& options) {
  CaFolder ca = TRY(CaFolder::open(options.folder));
  TRY(ca.revoke(options.revoked_host, std::time(nullptr)));
  tell(fmt::format("Added the certificates of {} to {}/ca-crl.pem.", options.revoked_host, options.folder));
  tell("Copy ca-crl.pem to every other host, beside its ca-cert.pem: a host without it goes on trusting them.");
  tell(fmt::format("For new certificates of {} remove {}/{} first.", options.revoked_host, options.folder,
                   options.revoked_host));
  return {};
}

Status keygen(const KeygenOptions& options) {
  if (!options.psk_file.empty()) return keygen_psk(options);
  return options.revoked_host.empty() ? keygen_hosts(options) : keygen_revoke(options);
}

}  // namespace

int run_keygen(const KeygenOptions& options) {
  const Status done = keygen(options);
  if (done) return to_int(ExitCode::kDone);
  say(stderr, fmt::format("godwit keygen: {}\n", printable(done.error().message)));
  return to_int(ExitCode::kFailed);
}

}  // namespace godwit
