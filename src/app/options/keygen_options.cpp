// The options of `godwit keygen`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>

#include "app/exit_code.h"
#include "app/option_values.h"
#include "app/options/command_parsers.h"
#include "app/options/option_texts.h"

namespace godwit {

namespace {

constexpr const char* kKeygenExamples =
    "Examples:\n"
    "  godwit keygen --dir /root/godwit-ca --host host-a,10.0.0.1 --host host-b,10.0.0.2\n"
    "  godwit keygen --dir /root/godwit-ca --revoke host-a\n"
    "  godwit keygen --psk /etc/godwit/key.psk\n"
    "\n"
    "DIR/HOST then has the files of HOST by the names that QEMU has in /etc/pki/qemu. No file is overwritten\n"
    "except DIR/ca-crl.pem; a CA that is in DIR already is used again.\n";

struct KeygenTexts {
  Text psk, dir, days, revoke;
  std::vector<std::string> hosts;
};

CLI::App* add_keygen(CLI::App& app, KeygenTexts& texts) {
  CLI::App* keygen = app.add_subcommand("keygen", "Make certificates, or a shared key, for moves between your hosts");
  add(*keygen, "--dir", texts.dir, "DIR", "folder of a CA and of its hosts' files; both are made if missing");
  keygen->add_option("--host", texts.hosts, "make certificates for a host with these names and addresses; repeatable")
      ->type_name("NAME[,NAME...]")
      ->check(is_value, "")
      ->allow_extra_args(false);
  add(*keygen, "--days", texts.days, "N", "how long they are valid, 1 to 3650 [730]; the CA is for 10 years");
  add(*keygen, "--revoke", texts.revoke, "HOST", "add the certificates in DIR/HOST to DIR/ca-crl.pem");
  add(*keygen, "--psk", texts.psk, "FILE", "make a key there that both sides share, in place of certificates");
  keygen->footer(std::string(kKeygenExamples) + "\n" + std::string(kExitCodeHelp));
  return keygen;
}

Result<Command> read_keygen_psk(const KeygenTexts& texts) {
  if (texts.dir || texts.days || texts.revoke || !texts.hosts.empty()) {
    return fail(ErrorKind::kInvalidArgument,
                "--psk: makes a key in place of certificates; give it without --dir, --host, --days and --revoke");
  }
  KeygenOptions options;
  options.psk_file = TRY(file_value("--psk", *texts.psk));
  return options;
}

Result<Command> read_keygen_revoke(const KeygenTexts& texts) {
  if (texts.days || !texts.hosts.empty()) {
    return fail(ErrorKind::kInvalidArgument, "--revoke: makes no certificates; give it without --host and --days");
  }
  KeygenOptions options;
  options.folder = TRY(file_value("--dir", *texts.dir));
  options.revoked_host = TRY(host_value("--revoke", *texts.revoke));
  return options;
}

Result<Command> read_keygen(const KeygenTexts& texts) {
  if (texts.psk) return read_keygen_psk(texts);
  if (!texts.dir) {
    const bool for_hosts = texts.revoke || texts.days || !texts.hosts.empty();
    return missing("keygen", for_hosts ? "--dir" : "--dir or --psk", "--dir", "/root/godwit-ca");
  }
  if (texts.revoke) return read_keygen_revoke(texts);
  if (texts.hosts.empty()) return missing("keygen --dir", "--host or --revoke", "--host", "host-a");
  KeygenOptions options;
  options.folder = TRY(file_value("--dir", *texts.dir));
  for (const std::string& text : texts.hosts) {
    auto names = TRY(host_names_value("--host", text));
    const auto is_same = [&](const auto& other) { return other.front() == names.front(); };
    if (std::any_of(options.hosts.begin(), options.hosts.end(), is_same)) {
      return fail(ErrorKind::kInvalidArgument, fmt::format("--host: '{}' given more than once", names.front()));
    }
    options.hosts.push_back(std::move(names));
  }
  if (texts.days) options.days = TRY(days_value("--days", *texts.days));
  return options;
}

}  // namespace

CommandParser keygen_parser(CLI::App& app) {
  const auto texts = std::make_shared<KeygenTexts>();
  return {.command = add_keygen(app, *texts), .read = [=] { return read_keygen(*texts); }};
}

}  // namespace godwit
