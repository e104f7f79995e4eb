#include "app/options/complaint.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <numeric>
#include <string_view>
#include <vector>

#include "app/options/option_texts.h"

namespace godwit {

namespace {

/// How many letters must change to make one word of the other.
std::size_t distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0]++;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({row[j] + 1, row[j + 1] + 1, replaced});
    }
  }
  return row.back();
}

/// "godwit send: unknown option '--qpm'; did you mean --qmp?"
std::string unknown_word(const CLI::App& app, std::string word) {
  word.resize(std::min({word.size(), word.find('='), std::size_t{40}}));
  const auto used = app.get_subcommands();
  const std::string where = used.empty() ? "godwit" : "godwit " + used.front()->get_name();
  std::string best;
  // Two letters wrong (or swapped) are a typing slip; more are another word.
  std::size_t least = 3;
  const auto consider = [&](const std::string& candidate) {
    if (const auto letters = distance(word, candidate); letters < least) {
      least = letters;
      best = candidate;
    }
  };
  if (used.empty()) {
    for (const CLI::App* command : app.get_subcommands({})) consider(command->get_name());
  } else {
    for (const CLI::Option* option : used.front()->get_options()) {
      if (!option->get_lnames().empty()) consider("--" + option->get_lnames().front());
    }
  }
  const std::string_view kind = word.starts_with('-') ? "option" : used.empty() ? "command" : "argument";
  const std::string hint = best.empty() ? fmt::format("see {} --help", where) : fmt::format("did you mean {}?", best);
  return fmt::format("{}: unknown {} '{}'; {}", where, kind, word, hint);
}

}  // namespace

std::string complaint_of(const CLI::App& app, const CLI::ParseError& error) {
  const auto extras = app.remaining(true);
  if (dynamic_cast<const CLI::ExtrasError*>(&error) != nullptr && !extras.empty()) {
    return unknown_word(app, extras.front());
  }
  const std::string text = error.what();
  const std::string option = text.substr(0, text.find(':'));
  if (dynamic_cast<const CLI::ArgumentMismatch*>(&error) != nullptr && option.starts_with("--")) {
    const bool many = text.find("received") != std::string::npos;
    return fmt::format("{}: {}", option, many ? "given more than once" : kValueMissing);
  }
  return text.substr(0, text.find('\n'));
}

}  // namespace godwit
