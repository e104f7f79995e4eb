#include "tls/keygen.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <limits>

#include "base/random.h"
#include "base/small_files.h"
#include "tls/host_name.h"
#include "tls/new_file.h"
#include "tls/trust.h"

namespace godwit {

namespace {

constexpr mode_t kForOwner = 0600;
constexpr mode_t kForAll = 0644;

constexpr const char* kCaCertificate = "ca-cert.pem";
constexpr const char* kCaKey = "ca-key.pem";
constexpr const char* kCaRevocations = "ca-crl.pem";
constexpr const char* kServerCertificate = "server-cert.pem";
constexpr const char* kServerKey = "server-key.pem";
constexpr const char* kClientCertificate = "client-cert.pem";
constexpr const char* kClientKey = "client-key.pem";

// The name that a key file gives its key. QEMU and GnuTLS have such names, too: a file may hold keys for several users.
constexpr std::string_view kKeyIdentity = "godwit";

constexpr std::time_t kAnHour = 3600;
constexpr std::time_t kTenYears = std::time_t{3650} * 24 * kAnHour;
// Clocks of hosts differ, and one that is behind would refuse what has just been made.
constexpr std::time_t kClocksDiffer = kAnHour;

// More than a list of 20000 revoked certificates has.
constexpr std::size_t kMostPemText = std::size_t{1} << 20U;

Result<std::string> hexadecimal_of_random(std::size_t bytes) {
  std::vector<std::byte> random(bytes);
  TRY(fill_with_random(random));
  std::string digits;
  for (const std::byte byte : random) digits += fmt::format("{:02x}", std::to_integer<unsigned>(byte));
  return digits;
}

Result<bool> is_there(const std::string& path) {
  struct stat found {};
  if (::lstat(path.c_str(), &found) == 0) return true;
  if (errno == ENOENT) return false;
  return fail_os("look for " + path);
}

Result<std::string> read_pem(const std::string& path) {
  return read_whole_file(path, kMostPemText);
}

/// Whoever can read the CA's key can make certificates for any host.
Result<std::string> read_ca_key(const std::string& path) {
  struct stat found {};
  if (::stat(path.c_str(), &found) != 0) return fail_os("open " + path);
  if ((found.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return fail(ErrorKind::kNoPermission,
                fmt::format("{} is open to other users (mode {:04o}); make new keys, or `chmod 600` it if nobody has "
                            "read it",
                            path, found.st_mode & 07777U));
  }
  return read_pem(path);
}

/// Held as long as the folder is used: of two who revoke at once the second would forget what the first has added.
Result<UniqueFd> lock_folder(const std::string& folder) {
  UniqueFd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) return fail_os("open " + folder);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno == EWOULDBLOCK) return fail(ErrorKind::kRefused, "another keygen is at work in " + folder);
  // A file system that cannot lock folders.
  return fd;
}

Status make_ca(const std::string& folder, std::time_t now) {
  // CAs with different keys have different names, so that nobody takes one for the other.
  const std::string name = "Godwit CA " + TRY(hexadecimal_of_random(4));
  const Issuer ca = TRY(Issuer::make(name, {now - kClocksDiffer, now + kTenYears}));
  const std::string key_path = folder + "/" + kCaKey;
  TRY(make_file(key_path, ca.key(), kForOwner));
  auto made = make_file(folder + "/" + kCaCertificate, ca.certificate(), kForAll);
  if (!made) ::unlink(key_path.c_str());
  return made;
}

}  // namespace

Status make_shared_key_file(const std::string& file) {
  KeyBytes line = TRY(new_shared_key_line(kKeyIdentity));
  line.add(bytes_of("\n"));
  return make_file(file, line.text(), kForOwner);
}

CaFolder::CaFolder(std::string folder, UniqueFd lock, Issuer ca, bool is_new)
    : folder_(std::move(folder)), lock_(std::move(lock)), ca_(std::move(ca)), is_new_(is_new) {}

Result<CaFolder> CaFolder::load(const std::string& folder, UniqueFd lock) {
  std::string certificate = TRY(read_pem(folder + "/" + kCaCertificate));
  std::string key = TRY(read_ca_key(folder + "/" + kCaKey));
  Issuer ca = TRY_IN("the CA in " + folder, Issuer::from_pem(std::move(certificate), std::move(key)));
  return CaFolder(folder, std::move(lock), std::move(ca), false);
}

Result<CaFolder> CaFolder::open(const std::string& folder) {
  return load(folder, TRY(lock_folder(folder)));
}

Result<CaFolder> CaFolder::open_or_make(const std::string& folder, std::time_t now) {
  TRY(make_folder_if_missing(folder));
  UniqueFd lock = TRY(lock_folder(folder));
  const bool has_certificate = TRY(is_there(folder + "/" + kCaCertificate));
  const bool has_key = TRY(is_there(folder + "/" + kCaKey));
  if (has_certificate != has_key) {
    const auto [here, missing] = has_key ? std::pair(kCaKey, kCaCertificate) : std::pair(kCaCertificate, kCaKey);
    return fail(ErrorKind::kNotFound, fmt::format("{} has {} but not {}; choose the folder of a whole CA, or a new one",
                                                  folder, here, missing));
  }
  if (!has_key) TRY(make_ca(folder, now));
  CaFolder opened = TRY(load(folder, std::move(lock)));
  opened.is_new_ = !has_key;
  return opened;
}

Status CaFolder::check_host(const std::vector<std::string>& names) const {
  for (const std::string& name : names) TRY(check_host_name(name));
  if (names.empty()) return fail(ErrorKind::kInvalidArgument, "a host needs a name");
  for (const char* const used : {kCaCertificate, kCaKey, kCaRevocations}) {
    if (names.front() == used) return fail(ErrorKind::kInvalidArgument, fmt::format("{} is not a host's name", used));
  }
  return expect_nothing_at(host_folder(names));
}

Result<ValidFor> CaFolder::valid_from(std::time_t now, std::time_t until) const {
  const ValidFor ca = TRY(ca_.valid());
  if (ca.until <= now) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("the CA in {} has expired; make a new one in another folder", folder_));
  }
  return ValidFor{now - kClocksDiffer, std::min(until, ca.until)};
}

Result<std::optional<std::string>> CaFolder::revocation_list() const {
  const std::string path = folder_ + "/" + kCaRevocations;
  if (!TRY(is_there(path))) return std::nullopt;
  return TRY(read_pem(path));
}

Result<std::time_t> CaFolder::make_host(const std::vector<std::string>& names, std::time_t now, std::time_t until) {
  TRY(check_host(names));
  const ValidFor valid = TRY(valid_from(now, until));
  const Issued server = TRY(ca_.issue(names, CertificateUse::kServer, valid));
  const Issued client = TRY(ca_.issue(names, CertificateUse::kClient, valid));
  NewFolder host = TRY(NewFolder::begin(folder_));
  TRY(host.add(kCaCertificate, ca_.certificate(), kForAll));
  const auto list = TRY(revocation_list());
  if (list) TRY(host.add(kCaRevocations, *list, kForAll));
  TRY(host.add(kServerCertificate, server.certificate, kForAll));
  TRY(host.add(kServerKey, server.key, kForOwner));
  TRY(host.add(kClientCertificate, client.certificate, kForAll));
  TRY(host.add(kClientKey, client.key, kForOwner));
  TRY(host.finish(names.front()));
  return valid.until;
}

Status CaFolder::revoke(const std::string& host, std::time_t now) {
  TRY(check_host_name(host));
  // The list is valid as long as the CA: one that ran out would make every host refuse every other.
  const ValidFor valid = TRY(valid_from(now, std::numeric_limits<std::time_t>::max()));
  const auto former = TRY(revocation_list());
  // One by one: to return from the middle of an initializer forgets what was made before.
  std::array<std::string, 2> certificates;
  certificates[0] = TRY(read_pem(folder_ + "/" + host + "/" + kServerCertificate));
  certificates[1] = TRY(read_pem(folder_ + "/" + host + "/" + kClientCertificate));
  const std::string list = TRY_IN("revoke " + host, ca_.revocation_list(certificates, valid, former));
  return replace_file(folder_ + "/" + kCaRevocations, list, kForAll);
}

}  // namespace godwit
