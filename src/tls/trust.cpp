#include "tls/trust.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/random.h"
#include "base/unique_fd.h"

namespace godwit {

namespace {

constexpr std::size_t kLeastKeyBytes = 16;
constexpr std::size_t kMostKeyBytes = 64;
constexpr std::size_t kLongestIdentity = 64;
constexpr std::size_t kNewKeyBytes = 32;

/// What the files of a folder are called there: {server's, client's}.
struct Naming {
  std::string_view ca, crl;
  std::array<std::string_view, 2> certificate, key;
};

constexpr Naming kQemuNaming{
    "ca-cert.pem", "ca-crl.pem", {"server-cert.pem", "client-cert.pem"}, {"server-key.pem", "client-key.pem"}};
constexpr Naming kLibvirtNaming{"CA/cacert.pem",
                                "CA/cacrl.pem",
                                {"libvirt/servercert.pem", "libvirt/clientcert.pem"},
                                {"libvirt/private/serverkey.pem", "libvirt/private/clientkey.pem"}};

/// Not whether it can be read: whoever reads it says why not.
bool has_file(const std::string& path) {
  struct stat status {};
  return ::stat(path.c_str(), &status) == 0 || errno != ENOENT;
}

std::string path_in(const std::string& folder, std::string_view name) {
  return fmt::format("{}/{}", folder, name);
}

/// Two digits to a byte; nothing if there are other letters among them.
KeyBytes bytes_of_hex(std::string_view text) {
  const auto digit = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  KeyBytes bytes;
  if (text.size() % 2 != 0) return bytes;
  for (std::size_t at = 0; at < text.size(); at += 2) {
    const int high = digit(text[at]), low = digit(text[at + 1]);
    const std::byte byte{static_cast<unsigned char>(high * 16 + low)};
    if (high < 0 || low < 0 || !bytes.add({&byte, 1})) return {};
  }
  return bytes;
}

/// As much of a file's beginning as its first line can have: what follows may be the keys of others.
Result<KeyBytes> beginning_of(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return fail_os("open " + path);
  KeyBytes text;
  while (!text.room().empty()) {
    const MutableBytes room = text.room();
    const ssize_t got = ::read(file.get(), room.data(), room.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_os("read " + path);
    if (got == 0) break;
    text.taken(static_cast<std::size_t>(got));
  }
  return text;
}

}  // namespace

Result<CertificateFiles> certificates_in(const std::string& folder, TlsSide side) {
  const bool qemu = has_file(path_in(folder, kQemuNaming.ca));
  const Naming& names = !qemu && has_file(path_in(folder, kLibvirtNaming.ca)) ? kLibvirtNaming : kQemuNaming;
  CertificateFiles files{.ca = path_in(folder, names.ca), .crl = {}, .certificate = {}, .key = {}};
  if (!has_file(files.ca)) {
    return fail(ErrorKind::kNotFound,
                fmt::format("{} has no {}: `godwit keygen` makes certificates", folder, names.ca));
  }
  if (const auto crl = path_in(folder, names.crl); has_file(crl)) files.crl = crl;
  const std::size_t own = side == TlsSide::kServer ? 0 : 1;
  for (const std::size_t which : {own, 1 - own}) {
    files.certificate = path_in(folder, names.certificate[which]);
    files.key = path_in(folder, names.key[which]);
    if (has_file(files.certificate) && has_file(files.key)) return files;
  }
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("{} has a CA's certificate, but neither {} with {} nor {} with {}", folder,
                          names.certificate[own], names.key[own], names.certificate[1 - own], names.key[1 - own]));
}

const std::vector<std::string>& usual_certificate_folders() {
  static const std::vector<std::string> folders{"/etc/pki/godwit", "/etc/pki/qemu", "/etc/pki"};
  return folders;
}

Result<KeyBytes> new_shared_key_line(std::string_view identity) {
  constexpr std::string_view kHexDigits = "0123456789abcdef";
  KeyBytes key(kNewKeyBytes);
  TRY(fill_with_random(key.bytes()));
  KeyBytes line;
  bool fits = line.add(bytes_of(identity)) && line.add(bytes_of(":"));
  for (const std::byte byte : key.bytes()) {
    const auto value = std::to_integer<unsigned>(byte);
    fits = fits && line.add(bytes_of(kHexDigits.substr(value >> 4U, 1))) &&
           line.add(bytes_of(kHexDigits.substr(value & 15U, 1)));
  }
  if (!fits) return fail(ErrorKind::kInvalidArgument, "the identity of a key is too long");
  return line;
}

Result<SharedKey> parse_shared_key(std::string_view text, std::string_view where) {
  const auto wrong = [&](std::string_view what) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("{}: {}; it must hold IDENTITY:HEX, as `godwit keygen --psk` writes it", where, what));
  };
  const std::string_view line = text.substr(0, text.find_first_of("\r\n"));
  const auto colon = line.find(':');
  if (colon == std::string_view::npos) return wrong("its first line has no ':'");
  SharedKey key{.identity = std::string(line.substr(0, colon)), .key = bytes_of_hex(line.substr(colon + 1))};
  const auto printable = [](char c) { return c > ' ' && c < 0x7f; };
  if (key.identity.empty() || key.identity.size() > kLongestIdentity || !std::ranges::all_of(key.identity, printable)) {
    return wrong(fmt::format("its identity is not 1 to {} letters, digits and signs", kLongestIdentity));
  }
  if (key.key.size() < kLeastKeyBytes || key.key.size() > kMostKeyBytes) {
    return wrong(fmt::format("its key is not {} to {} hexadecimal digits", 2 * kLeastKeyBytes, 2 * kMostKeyBytes));
  }
  return key;
}

Status refuse_readable_by_all(const std::string& file) {
  struct stat status {};
  if (::stat(file.c_str(), &status) != 0) return fail_os(file);
  if ((status.st_mode & S_IRWXO) == 0) return {};
  return fail(ErrorKind::kNoPermission, fmt::format("{} is open to every user here: chmod o= {}", file, file));
}

Result<SharedKey> read_shared_key(const std::string& file) {
  TRY_IN("the key", refuse_readable_by_all(file));
  const KeyBytes text = TRY(beginning_of(file));
  return parse_shared_key(text.text(), fmt::format("the key {}", file));
}

}  // namespace godwit
