// Where `godwit send --to ssh://[user@]HOST[:PORT]/PATH` goes, and the words that start a Godwit there.
//
//   local words, one by one:  ssh -T -p 22 root@host-b COMMAND
//   COMMAND, for a shell there: godwit receive --over-ssh --qmp /run/vm1.qmp     (each word quoted)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/address.h"

namespace godwit {

struct SshTarget {
  std::string user;        ///< empty: as ssh's configuration has it
  std::string host;        ///< without brackets
  std::uint16_t port = 0;  ///< 0: as ssh's configuration has it
  std::string path;        ///< of QEMU's monitor socket there: absolute
  bool operator==(const SshTarget&) const = default;
};

/// Whether `text` is meant to be one.
bool names_ssh(std::string_view text) noexcept;
/// kInvalidArgument says what is wrong and shows the form. Nothing that passes can be taken for an option of ssh.
Result<SshTarget> parse_ssh_target(std::string_view text);

/// HOST, HOST:PORT or an IPv6 address with or without brackets, as an address to listen on: without a port one of the
/// kernel's choice.
Result<Address> parse_data_address(std::string_view text);

/// Words between blanks; kInvalidArgument where there are none.
Result<std::vector<std::string>> words_of(std::string_view text);

/// One word as a shell reads it again, whatever is in it.
std::string quoted_for_shell(std::string_view word);

/// One login of ssh for several remote commands, which asks for a password once and counts once with sshd's
/// MaxStartups. For other remote shells each logs in by itself.
struct SharedLogin {
  std::string socket;  ///< its place in the file system
  bool owner = false;  ///< logs in; the others come after it, and end with it at the latest
};

/// The command that starts `remote_words` at the target by way of the remote shell `shell`.
std::vector<std::string> remote_command(const std::vector<std::string>& shell, const SshTarget& target,
                                        const std::vector<std::string>& remote_words,
                                        const std::optional<SharedLogin>& login = {});

}  // namespace godwit
