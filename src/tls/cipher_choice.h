// Which cipher this CPU is faster with: AES has instructions on most, ChaCha20 is faster without and with wide vectors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace godwit {

/// One of TLS 1.3's, with its hash, which a shared key is bound to.
struct TlsCipher {
  std::string_view name;    ///< "TLS_AES_256_GCM_SHA384"
  std::string_view cipher;  ///< alone, as OpenSSL calls it
  std::string_view hash;    ///< "sha384"
  unsigned char id[2];      ///< on the wire
};

/// Those that a peer may choose from.
const std::vector<TlsCipher>& tls_ciphers();
/// In falling order of the speed that a try of a few milliseconds shows.
std::vector<TlsCipher> ciphers_by_speed();

}  // namespace godwit
