// What commands' options have in common: their text as it was written, and the options that several commands have.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "app/command_line.h"
#include "app/option_values.h"
#include "base/result.h"

namespace CLI {
class App;
}

namespace godwit {

/// An option's text as it was written, or nothing if it was not.
using Text = std::optional<std::string>;

constexpr std::string_view kAutoCodec = "auto";
constexpr std::string_view kValueMissing = "missing value";

struct LogTexts {
  Text log_file, log_level;
};

struct SharedTexts : LogTexts {
  Text qmp, pid, report, tls_dir, tls_psk, tls_hostname;
  bool insecure_plain = false;
};

/// A check of CLI11's, which takes the next word whatever it looks like, also when it is the next option.
std::string is_value(const std::string& word);

/// Declares an option with a value.
void add(CLI::App& app, const char* name, Text& text, const char* type, const std::string& help);
void add_log(CLI::App& app, LogTexts& texts);
void add_tls(CLI::App& app, SharedTexts& texts, const char* default_name);
void add_shared(CLI::App& app, SharedTexts& texts);

/// "send needs --qmp, e.g. --qmp /run/vm1.qmp"; `options`: where one of several would do.
tl::unexpected<Error> missing(std::string_view command, std::string_view options, std::string_view option,
                              std::string_view example);
tl::unexpected<Error> missing(std::string_view command, std::string_view option, std::string_view example);

Status read_log(const LogTexts& texts, LogOptions& log);
Status read_tls(const SharedTexts& texts, TlsOptions& tls);

/// Fills what send and receive have in common.
template <typename Options>
Status read_shared(const SharedTexts& texts, Options& options) {
  if (texts.qmp) options.qmp = TRY(socket_path_value("--qmp", *texts.qmp));
  if (texts.pid) options.pid = TRY(pid_value("--pid", *texts.pid));
  if (texts.report) options.report_file = TRY(file_value("--report", *texts.report));
  TRY(read_tls(texts, options.tls));
  return read_log(texts, options.log);
}

}  // namespace godwit
