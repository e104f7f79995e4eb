// How this side trusts the other one, by what the operator has said, and what is in the usual folders.
#pragma once

#include <memory>

#include "app/command_line.h"
#include "tls/tls_context.h"

namespace godwit {

/// The usual folders are `folders`. kInvalidArgument, kNotFound, kNoPermission name what cannot be used, or say which
/// ways there are where nothing was said and nothing found for an address that others can reach.
Result<Trust> choose_trust(const TlsOptions& options, TlsSide side, const Address& address,
                           const std::vector<std::string>& folders = usual_certificate_folders());

/// For all connections of one side, to or at `address`; null: in the clear.
Result<std::shared_ptr<TlsContext>> make_tls(const TlsOptions& options, TlsSide side, const Address& address);

}  // namespace godwit
