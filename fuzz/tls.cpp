// TLS sessions and certificates with bytes that nobody vouches for. A genuine client and server talk; what one of them
// says is cut at any byte, changed, or followed by rubbish.
//
//   input   | what | pieces | which | cut (2 bytes) | edits | bytes ...
//   what      0: the bytes alone, to a server         1: to a client
//             2, 3: certificates: names in the bytes, or in a genuine certificate with edits (the bytes replace its
//             end) else two sides: bit 0: by certificates, not by a key      bit 1: the server has another key bit 3:
//             the client is the one whose words are tampered with
//   which     the flight from which on: 0 the first, 1 the next, ... : the handshake's, then what is said after it
//
// What must hold: no answer but "go on", "it does not trust", "this is not TLS" or "it is gone"; the same answer to who
// asks again; a side whose peer has been tampered with gets a beginning of what was said, and nothing else; one that is
// left in peace gets all of it; no handshake is done with who has another key; and little is kept for a stranger.
#include <unistd.h>

#include <array>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "fuzz/input.h"
#include "tls/issuer.h"
#include "tls/pem.h"
#include "tls/tls_failure.h"
#include "tls/tls_session.h"

namespace {

using namespace godwit;

constexpr std::size_t kMostForAStranger = 16 * 1024;  // what a side answers before it knows whom it talks to
constexpr std::string_view kSaid = "a page of the guest, and what the source says of it";

/// A CA and two certificates; files for as long as contexts are made of them.
struct Identities {
  Identities() {
    const std::time_t now = std::time(nullptr);
    const ValidFor valid{now - 3600, now + 30 * 24 * 3600};
    const auto ca = Issuer::make("CA", valid).value();
    std::string name = std::filesystem::temp_directory_path() / "godwit-fuzz-XXXXXX";
    check(::mkdtemp(name.data()) != nullptr);
    const std::filesystem::path folder = name;
    const auto file = [&](const char* called, const std::string& text) {
      std::ofstream(folder / called) << text;
      // A private key that every user can read is not taken.
      std::filesystem::permissions(folder / called, std::filesystem::perms(0600));
      return (folder / called).string();
    };
    const auto context = [&](TlsSide side, std::string host, CertificateUse use) {
      const std::vector<std::string> names{std::move(host), "10.0.0.2"};
      const auto issued = ca.issue(names, use, valid).value();
      certificate = issued.certificate;
      return TlsContext::make(side,
                              CertificateFiles{.ca = file("ca.pem", ca.certificate()),
                                               .crl = {},
                                               .certificate = file("cert.pem", issued.certificate),
                                               .key = file("key.pem", issued.key)},
                              side == TlsSide::kClient ? "host-b" : "")
          .value();
    };
    client = context(TlsSide::kClient, "host-a", CertificateUse::kClient);
    server = context(TlsSide::kServer, "host-b", CertificateUse::kServer);
    std::filesystem::remove_all(folder);
  }
  std::shared_ptr<TlsContext> client, server;
  std::string certificate;
};

const Identities& identities() {
  static const Identities made;
  return made;
}

std::shared_ptr<TlsContext> with_key(TlsSide side, unsigned char byte) {
  return TlsContext::make(side, SharedKey{.identity = "fuzz", .key = KeyBytes(32, byte)}, "").value();
}

void check_error(const Error& error) {
  check(error.kind == ErrorKind::kRefused || error.kind == ErrorKind::kProtocol || error.kind == ErrorKind::kPeerLost);
  check(!error.message.empty());
}

/// A session, and what has come out of it.
class Side {
 public:
  explicit Side(const std::shared_ptr<TlsContext>& context)
      : session_(TlsSession::make(context, "the other side").value()) {}

  /// All of the bytes, in pieces of at most this length; what it says to them lies in its output.
  void hear(Bytes bytes, std::size_t piece) {
    go_on();
    while (!bytes.empty() && !failed_) {
      const MutableBytes room = session_->room();
      const std::size_t size = std::min({bytes.size(), room.size(), piece});
      check(size > 0);
      std::copy_n(bytes.begin(), size, room.begin());
      session_->fed(size);
      bytes = bytes.subspan(size);
      go_on();
    }
  }
  std::vector<std::byte> say() {
    go_on();
    return std::exchange(session_->output(), {});
  }
  void encrypt(std::string_view text) { check(session_->encrypt(bytes_of(text)).has_value()); }
  bool done() const noexcept { return done_; }
  bool failed() const noexcept { return failed_; }
  const std::string& got() const noexcept { return got_; }

 private:
  void go_on() {
    if (failed_) return;
    const auto shaken = session_->handshake();
    if (!shaken) return fail_with(shaken.error());
    check(!done_ || *shaken);
    done_ = *shaken;
    check(session_->description().empty() == !done_);
    if (!done_) check(session_->output().size() <= kMostForAStranger);
    std::array<std::byte, 64> room;
    for (std::size_t have = 1; have > 0;) {
      const auto taken = session_->decrypt(room);
      if (!taken) return fail_with(taken.error());
      have = *taken;
      check(have == 0 || done_);
      got_ += text_of(Bytes(room).first(have));
    }
  }
  void fail_with(const Error& error) {
    check_error(error);
    failed_ = true;
    const auto again = session_->decrypt({});
    if (error.kind != ErrorKind::kPeerLost) check(!again && again.error().message == error.message);
    check(session_->output().size() <= kMostForAStranger);
  }

  std::unique_ptr<TlsSession> session_;
  bool done_ = false;
  bool failed_ = false;
  std::string got_;
};

void check_stranger(TlsSide side, Input& input) {
  static const auto server = with_key(TlsSide::kServer, 1);
  static const auto client = with_key(TlsSide::kClient, 1);
  const std::size_t piece = 1 + input.byte();
  const bool certificates = (input.byte() & 1) != 0;
  Side one(side == TlsSide::kServer ? (certificates ? identities().server : server)
                                    : (certificates ? identities().client : client));
  one.hear(input.rest(), piece);
  check(!one.done() && one.got().empty());
}

void check_two_sides(unsigned what, Input& input) {
  static const auto client_key = with_key(TlsSide::kClient, 1);
  static const auto server_key = with_key(TlsSide::kServer, 1);
  static const auto other_key = with_key(TlsSide::kServer, 2);
  const bool certificates = (what & 1) != 0;
  const bool strange = !certificates && (what & 2) != 0;
  const bool client_is_tampered_with = (what & 8) != 0;
  const std::size_t piece = 1 + input.byte();
  const unsigned which = input.byte() % 4;
  const std::size_t cut = input.two_bytes();

  Side client(certificates ? identities().client : client_key);
  Side server(certificates ? identities().server : strange ? other_key : server_key);
  bool tampered = false;
  const auto pass = [&](Side& from, Side& to, unsigned flight) {
    std::vector<std::byte> said = from.say();
    if (flight != which || (&from == &client) != client_is_tampered_with) return to.hear(said, piece);
    const std::vector<std::byte> genuine = said;
    if (cut != 0 && !said.empty()) said.resize(said.size() - cut % said.size());
    (void)edit(said, input);
    const Bytes rubbish = input.rest();
    said.insert(said.end(), rubbish.begin(), rubbish.end());
    tampered = said != genuine;
    to.hear(said, piece);
  };
  for (unsigned flight = 0; flight < 3; ++flight) {
    pass(client, server, flight);
    pass(server, client, flight);
  }
  if (!tampered) check(client.done() == !strange && server.done() == !strange);
  if (strange) check(!client.done() && !server.done());
  const bool client_speaks = client.done() && !client.failed();
  const bool server_speaks = server.done() && !server.failed();
  if (client_speaks) client.encrypt(kSaid);
  if (server_speaks) server.encrypt(kSaid);
  pass(client, server, 3);
  pass(server, client, 3);
  check(kSaid.starts_with(client.got()) && kSaid.starts_with(server.got()));
  if (!tampered && !strange) check(client.got() == kSaid && server.got() == kSaid);
}

void check_names(Bytes der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  const OwnedCertificate certificate(d2i_X509(nullptr, &at, static_cast<long>(der.size())));
  if (!certificate) return;
  const std::string names = names_of_certificate(*certificate);
  check(!names.empty() && names.front() == '\'' && names.back() == '\'');
  for (const char c : names) check(c >= 0x20 && c < 0x7f);
}

void check_certificate(bool genuine, Input& input) {
  if (!genuine) return check_names(input.rest());
  static const std::vector<std::byte> der = [] {
    const auto certificate = certificate_of(identities().certificate).value();
    std::vector<std::byte> bytes(static_cast<std::size_t>(i2d_X509(certificate.get(), nullptr)));
    auto* at = reinterpret_cast<unsigned char*>(bytes.data());
    check(i2d_X509(certificate.get(), &at) > 0);
    return bytes;
  }();
  std::vector<std::byte> changed = der;
  const std::size_t cut = input.two_bytes();
  (void)edit(changed, input);
  const Bytes more = input.rest();
  if (cut != 0) changed.resize(changed.size() - cut % changed.size());
  changed.insert(changed.end(), more.begin(), more.end());
  check_names(changed);
  // The same as a PEM file has it, whatever is written there.
  const auto parsed = certificate_of(text_of(more));
  if (!parsed) check(parsed.error().kind == ErrorKind::kInvalidArgument);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const unsigned what = input.byte();
  if (what < 2) {
    check_stranger(what == 0 ? TlsSide::kServer : TlsSide::kClient, input);
  } else if (what < 4) {
    check_certificate(what == 3, input);
  } else {
    check_two_sides(what, input);
  }
  return 0;
}
