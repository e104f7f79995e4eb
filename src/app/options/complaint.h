// What is wrong with a command line, in our words.
#pragma once

#include <string>

namespace CLI {
class App;
class ParseError;
}  // namespace CLI

namespace godwit {

/// One line, e.g. "godwit send: unknown option '--qpm'; did you mean --qmp?". `app` has thrown `error`.
std::string complaint_of(const CLI::App& app, const CLI::ParseError& error);

}  // namespace godwit
