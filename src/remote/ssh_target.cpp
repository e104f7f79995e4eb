#include "remote/ssh_target.h"

#include <fmt/format.h>
#include <sys/un.h>

#include <algorithm>

namespace godwit {

namespace {

constexpr std::string_view kScheme = "ssh://";
constexpr std::size_t kLongestMonitorPath = sizeof(sockaddr_un::sun_path) - 1;

tl::unexpected<Error> not_a_target(std::string_view text, std::string_view why) {
  return fail(ErrorKind::kInvalidArgument,
              fmt::format("address '{}': {}; write ssh://[USER@]HOST[:PORT]/PATH-OF-QEMU'S-MONITOR-THERE", text, why));
}

bool is_printable_word(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7f; });
}

bool is_plain(char c) {
  constexpr std::string_view kSigns = "_/.:,@%+-";
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         kSigns.find(c) != std::string_view::npos;
}

/// Behind the user's own words, which count before these, and before ssh's configuration.
void add_login(const SharedLogin& login, std::vector<std::string>& words) {
  std::string path = "ControlPath=";
  for (const char c : login.socket) path += c == '%' ? std::string("%%") : std::string(1, c);
  words.insert(words.end(), {"-o", login.owner ? "ControlMaster=yes" : "ControlMaster=no", "-o", std::move(path)});
  // One that went into the background would outlive the move.
  if (login.owner) words.insert(words.end(), {"-o", "ControlPersist=no"});
}

}  // namespace

bool names_ssh(std::string_view text) noexcept {
  return text.starts_with(kScheme);
}

Result<SshTarget> parse_ssh_target(std::string_view text) {
  if (!names_ssh(text)) return not_a_target(text, "it does not begin with ssh://");
  const std::string_view rest = text.substr(kScheme.size());
  const auto slash = rest.find('/');
  if (slash == std::string_view::npos) return not_a_target(text, "the path is missing");
  SshTarget target;
  target.path = rest.substr(slash);
  if (target.path.size() < 2 || target.path.ends_with('/')) return not_a_target(text, "the path must name a file");
  if (target.path.size() > kLongestMonitorPath) {
    return not_a_target(text, fmt::format("a Unix socket's path has at most {} bytes", kLongestMonitorPath));
  }
  if (std::ranges::any_of(target.path, [](unsigned char c) { return c < ' ' || c == 0x7f; })) {
    return not_a_target(text, "the path has a control character");
  }
  std::string_view where = rest.substr(0, slash);
  if (const auto at = where.rfind('@'); at != std::string_view::npos) {
    target.user = where.substr(0, at);
    where.remove_prefix(at + 1);
    if (target.user.empty()) return not_a_target(text, "the user before @ is missing");
    if (target.user.starts_with('-') || !is_printable_word(target.user)) {
      return not_a_target(text, "that is not the name of a user");
    }
  }
  // Host and port are written as those of tcp://; without a port any will do to read the rest.
  const bool with_port =
      where.starts_with('[') ? where.find("]:") != std::string_view::npos : where.find(':') != std::string_view::npos;
  const auto address = parse_address(fmt::format("tcp://{}{}", where, with_port ? "" : ":1"));
  if (!address || address->host.empty()) {
    return not_a_target(text, fmt::format("'{}' is not a host, or a host and a port", where));
  }
  if (address->host.starts_with('-')) return not_a_target(text, "that is not the name of a host");
  if (address->port == 0) return not_a_target(text, "0 is not a port to connect to");
  target.host = address->host;
  target.port = with_port ? address->port : std::uint16_t{0};
  return target;
}

Result<Address> parse_data_address(std::string_view text) {
  const auto colons = std::ranges::count(text, ':');
  std::string full = fmt::format("tcp://{}", text);
  if (colons > 1 && !text.starts_with('[')) full = fmt::format("tcp://[{}]:0", text);
  if (colons == 0 || text.ends_with(']')) full += ":0";
  auto address = parse_address(full);
  if (!address || address->host.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                fmt::format("'{}' is not an address of the destination; write HOST or HOST:PORT", text));
  }
  return address;
}

Result<std::vector<std::string>> words_of(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t begin = text.find_first_not_of(' '); begin != std::string_view::npos;) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    words.emplace_back(text.substr(begin, end - begin));
    begin = text.find_first_not_of(' ', end);
  }
  if (words.empty()) return fail(ErrorKind::kInvalidArgument, fmt::format("'{}' is not a command", text));
  return words;
}

std::string quoted_for_shell(std::string_view word) {
  if (!word.empty() && std::ranges::all_of(word, is_plain)) return std::string(word);
  std::string out = "'";
  for (const char c : word) out += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return out + "'";
}

std::vector<std::string> remote_command(const std::vector<std::string>& shell, const SshTarget& target,
                                        const std::vector<std::string>& remote_words,
                                        const std::optional<SharedLogin>& login) {
  std::vector<std::string> words = shell;
  // A terminal there, which ssh's configuration may ask for, would echo the key and mix what comes back. Another remote
  // shell may not know the option.
  const std::string_view program = shell.front();
  const bool is_ssh = program == "ssh" || program.ends_with("/ssh");
  if (is_ssh) words.emplace_back("-T");
  if (is_ssh && login) add_login(*login, words);
  if (target.port != 0) {
    words.emplace_back("-p");
    words.push_back(std::to_string(target.port));
  }
  words.push_back(target.user.empty() ? target.host : target.user + "@" + target.host);
  std::string line;
  for (const std::string& word : remote_words) line += (line.empty() ? "" : " ") + quoted_for_shell(word);
  words.push_back(line);
  return words;
}

}  // namespace godwit
