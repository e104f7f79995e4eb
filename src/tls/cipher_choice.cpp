#include "tls/cipher_choice.h"

#include <algorithm>
#include <array>
#include <chrono>

#include "base/clock.h"
#include "tls/openssl.h"

namespace godwit {

namespace {

// A record of TLS, and enough of them that the clock's resolution is nothing beside them.
constexpr std::size_t kRecord = 16 * 1024;
constexpr int kRecordsATry = 16;
// The fastest of some tries is the cipher's own speed, the others are interruptions.
constexpr int kTries = 4;

/// Of one try; Duration::max() where OpenSSL does not have it.
Duration time_of(const TlsCipher& cipher) {
  const std::array<unsigned char, 32> key{};
  const std::array<unsigned char, 12> nonce{};
  static thread_local std::array<unsigned char, kRecord> record;
  const OwnedCipherContext context(EVP_CIPHER_CTX_new());
  std::unique_ptr<EVP_CIPHER, OpensslFree<EVP_CIPHER_free>> kind(
      EVP_CIPHER_fetch(nullptr, std::string(cipher.cipher).c_str(), nullptr));
  if (!context || !kind) return Duration::max();
  Duration least = Duration::max();
  for (int i = 0; i < kTries; ++i) {
    const auto began = std::chrono::steady_clock::now();
    for (int n = 0; n < kRecordsATry; ++n) {
      int size = 0;
      if (EVP_EncryptInit_ex(context.get(), kind.get(), nullptr, key.data(), nonce.data()) != 1 ||
          EVP_EncryptUpdate(context.get(), record.data(), &size, record.data(), kRecord) != 1) {
        return Duration::max();
      }
    }
    least = std::min<Duration>(least, std::chrono::steady_clock::now() - began);
  }
  return least;
}

}  // namespace

const std::vector<TlsCipher>& tls_ciphers() {
  static const std::vector<TlsCipher> ciphers{
      {"TLS_AES_256_GCM_SHA384", "AES-256-GCM", "sha384", {0x13, 0x02}},
      {"TLS_CHACHA20_POLY1305_SHA256", "ChaCha20-Poly1305", "sha256", {0x13, 0x03}},
  };
  return ciphers;
}

std::vector<TlsCipher> ciphers_by_speed() {
  std::vector<std::pair<Duration, TlsCipher>> tried;
  for (const TlsCipher& cipher : tls_ciphers()) tried.emplace_back(time_of(cipher), cipher);
  std::ranges::stable_sort(tried, {}, &std::pair<Duration, TlsCipher>::first);
  std::vector<TlsCipher> ciphers;
  for (const auto& [time, cipher] : tried) ciphers.push_back(cipher);
  return ciphers;
}

}  // namespace godwit
