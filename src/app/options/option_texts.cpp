#include "app/options/option_texts.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

namespace godwit {

std::string is_value(const std::string& word) {
  return word.starts_with("--") ? std::string(kValueMissing) : std::string();
}

void add(CLI::App& app, const char* name, Text& text, const char* type, const std::string& help) {
  app.add_option(name, text, help)->type_name(type)->check(is_value, "");
}

void add_log(CLI::App& app, LogTexts& texts) {
  add(app, "--log-file", texts.log_file, "FILE", "append a log there [none; systemd's journal for its services]");
  add(app, "--log-level", texts.log_level, "LEVEL", "error, warning, info or debug [info]");
}

void add_tls(CLI::App& app, SharedTexts& texts, const char* default_name) {
  add(app, "--tls-dir", texts.tls_dir, "DIR",
      "certificates, named as QEMU's [/etc/pki/godwit, /etc/pki/qemu, libvirt's]");
  add(app, "--tls-psk", texts.tls_psk, "FILE", "instead: a key that both sides have, from `godwit keygen`");
  add(app, "--tls-hostname", texts.tls_hostname, "NAME",
      fmt::format("what the other side's certificate must be for [{}]", default_name));
  app.add_flag("--insecure-plain", texts.insecure_plain,
               "no TLS: whoever can reach the network reads the guest's memory");
}

void add_shared(CLI::App& app, SharedTexts& texts) {
  add(app, "--report", texts.report, "FILE", "write the report there as JSON");
  add_log(app, texts);
  add(app, "--pid", texts.pid, "PID", "QEMU's process [the one behind its monitor]");
}

tl::unexpected<Error> missing(std::string_view command, std::string_view options, std::string_view option,
                              std::string_view example) {
  return fail(ErrorKind::kInvalidArgument, fmt::format("{} needs {}, e.g. {} {}", command, options, option, example));
}

tl::unexpected<Error> missing(std::string_view command, std::string_view option, std::string_view example) {
  return missing(command, option, option, example);
}

Status read_log(const LogTexts& texts, LogOptions& log) {
  if (texts.log_file) log.file = TRY(file_value("--log-file", *texts.log_file));
  if (texts.log_level) log.level = TRY(log_level_value("--log-level", *texts.log_level));
  return {};
}

Status read_tls(const SharedTexts& texts, TlsOptions& tls) {
  if (texts.tls_dir) tls.folder = TRY(file_value("--tls-dir", *texts.tls_dir));
  if (texts.tls_psk) tls.key_file = TRY(file_value("--tls-psk", *texts.tls_psk));
  if (texts.tls_hostname) tls.hostname = TRY(host_value("--tls-hostname", *texts.tls_hostname));
  tls.insecure_plain = texts.insecure_plain;
  const int ways = (texts.tls_dir ? 1 : 0) + (texts.tls_psk ? 1 : 0) + (texts.insecure_plain ? 1 : 0);
  if (ways > 1) {
    return fail(ErrorKind::kInvalidArgument,
                "--tls-dir, --tls-psk and --insecure-plain: give one of them; both sides must use the same way");
  }
  if (texts.tls_hostname && (texts.tls_psk || texts.insecure_plain)) {
    return fail(ErrorKind::kInvalidArgument, "--tls-hostname: is for certificates; leave it out, or give --tls-dir");
  }
  return {};
}

}  // namespace godwit
