// `godwit control SOCKET COMMAND...`: asks a move that is under way, and prints its answer.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "app/commands.h"
#include "app/control_request.h"
#include "app/exit_code.h"
#include "app/printable.h"
#include "app/say.h"
#include "net/channel.h"

namespace godwit {

namespace {

// The move answers within microseconds, however busy it is; a host may be busier.
constexpr Duration kAnswerPatience = std::chrono::seconds(10);
constexpr std::size_t kLongestAnswer = 256 * 1024;

Result<std::string> read_answer_line(Channel& channel) {
  std::string line;
  const Deadline until = Deadline::in(kAnswerPatience);
  std::array<std::byte, 4096> room;
  while (line.size() < kLongestAnswer) {
    const std::size_t got = TRY(channel.read(room, 1, until));
    line.append(reinterpret_cast<const char*>(room.data()), got);
    if (const auto end = line.find('\n'); end != std::string::npos) return line.substr(0, end);
  }
  return fail(ErrorKind::kProtocol, "the answer has no end");
}

Result<nlohmann::json> ask(const ControlOptions& options) {
  const Address address{.kind = Address::Kind::kUnix, .host = {}, .port = 0, .path = options.socket};
  auto channel = connect_to(address);
  if (!channel) {
    return fail(std::move(channel).error().in("no move listens at " + options.socket));
  }
  const std::string line = request_line(options.request) + "\n";
  TRY(send_bytes(**channel, bytes_of(line), Deadline::in(kAnswerPatience)));
  const std::string answer = TRY_IN("no answer from the move", read_answer_line(**channel));
  auto json = nlohmann::json::parse(answer, nullptr, false);
  if (!json.is_object()) return fail(ErrorKind::kProtocol, "the program that listens there is not godwit");
  return json;
}

std::string text_in(const nlohmann::json& answer, const char* key) {
  const auto found = answer.find(key);
  return found != answer.end() && found->is_string() ? found->get<std::string>() : std::string();
}

/// Line by line: what comes from a guest or a peer may be in it.
std::string safe_lines(const std::string& text) {
  std::string safe;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    safe += printable(std::string_view(text).substr(begin, end - begin), kLongestAnswer) + "\n";
    begin = end + 1;
  }
  return safe;
}

}  // namespace

int run_control(const ControlOptions& options) {
  const auto answer = ask(options);
  if (!answer) {
    say(stderr, fmt::format("{}\n", printable(answer.error().message)));
    return to_int(ExitCode::kFailed);
  }
  const auto done = answer->find("done");
  if (done == answer->end() || *done != true) {
    say(stderr, fmt::format("refused, and the move goes on: {}\n", printable(text_in(*answer, "error"))));
    return to_int(ExitCode::kFailed);
  }
  say(stdout, options.json ? answer->dump() + "\n" : safe_lines(text_in(*answer, "text")));
  return to_int(ExitCode::kDone);
}

}  // namespace godwit
