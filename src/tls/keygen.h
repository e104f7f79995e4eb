// Files with keys and certificates, as QEMU and Godwit look for them.
//
//   folder/ca-cert.pem, ca-key.pem        the CA; its key is needed only here
//   folder/ca-crl.pem                     what it has revoked, once it has
//   folder/HOST/ca-cert.pem, ca-crl.pem   copies
//   folder/HOST/{server,client}-{cert,key}.pem
//
// folder/HOST is what HOST needs. Keys have the mode 0600 from the beginning; nothing but ca-crl.pem is overwritten.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "tls/issuer.h"

namespace godwit {

/// A file with one new key that the two sides share, for read_shared_key().
Status make_shared_key_file(const std::string& file);

/// The folder of a CA.
class CaFolder {
 public:
  /// With the CA that is there, or a new one that is valid for 10 years.
  static Result<CaFolder> open_or_make(const std::string& folder, std::time_t now);
  /// kNotFound if there is none.
  static Result<CaFolder> open(const std::string& folder);

  /// Where the files of a host with these names are: by the first of them.
  std::string host_folder(const std::vector<std::string>& names) const { return folder_ + "/" + names.front(); }
  /// Fails for what make_host() would refuse, before anything is made.
  Status check_host(const std::vector<std::string>& names) const;
  /// Makes the host's folder, whole or not at all. Its certificates are valid until `until`, or as long as the CA is if
  /// that is shorter: says until when. kInvalidArgument if the folder exists, or a name is not one.
  Result<std::time_t> make_host(const std::vector<std::string>& names, std::time_t now, std::time_t until);
  /// Adds both certificates of the host to ca-crl.pem, which is made if it is not there.
  Status revoke(const std::string& host, std::time_t now);

  /// Whether the CA is a new one.
  bool is_new() const noexcept { return is_new_; }

 private:
  CaFolder(std::string folder, UniqueFd lock, Issuer ca, bool is_new);
  static Result<CaFolder> load(const std::string& folder, UniqueFd lock);
  Result<ValidFor> valid_from(std::time_t now, std::time_t until) const;
  /// The text of ca-crl.pem, if it is there.
  Result<std::optional<std::string>> revocation_list() const;

  std::string folder_;
  UniqueFd lock_;
  Issuer ca_;
  bool is_new_;
};

}  // namespace godwit
