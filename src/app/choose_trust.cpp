#include "app/choose_trust.h"

#include <fmt/format.h>

namespace godwit {

Result<Trust> choose_trust(const TlsOptions& options, TlsSide side, const Address& address,
                           const std::vector<std::string>& folders) {
  if (options.insecure_plain) return Trust(NoTrust{});
  if (!options.key_file.empty()) return Trust(TRY_IN("--tls-psk", read_shared_key(options.key_file)));
  if (!options.folder.empty()) return Trust(TRY_IN("--tls-dir", certificates_in(options.folder, side)));
  if (stays_on_host(address)) return Trust(NoTrust{});
  std::string looked_in;
  for (const std::string& folder : folders) {
    auto files = certificates_in(folder, side);
    if (files) return Trust(std::move(*files));
    // Half a set is a mistake, and not a reason to look elsewhere.
    if (files.error().kind != ErrorKind::kNotFound) return fail(std::move(files).error());
    looked_in += (looked_in.empty() ? "" : ", ") + folder;
  }
  return fail(
      ErrorKind::kInvalidArgument,
      fmt::format("there are no certificates in {}, and a guest's memory does not go over a network in the clear: "
                  "give --tls-dir or --tls-psk (`godwit keygen` makes what they need), or --insecure-plain",
                  looked_in));
}

Result<std::shared_ptr<TlsContext>> make_tls(const TlsOptions& options, TlsSide side, const Address& address) {
  Trust trust = TRY(choose_trust(options, side, address));
  if (std::holds_alternative<NoTrust>(trust)) return std::shared_ptr<TlsContext>();
  if (side == TlsSide::kClient && options.hostname.empty() && address.host.empty() &&
      std::holds_alternative<CertificateFiles>(trust)) {
    return fail(ErrorKind::kInvalidArgument,
                "--tls-hostname: is needed, since --to names no host that the other side's certificate could be for");
  }
  const bool named = side == TlsSide::kServer || !options.hostname.empty();
  return TlsContext::make(side, std::move(trust), named ? options.hostname : address.host);
}

}  // namespace godwit
