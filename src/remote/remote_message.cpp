#include "remote/remote_message.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace godwit {

namespace {

using MessageJson = nlohmann::ordered_json;

constexpr const char* kTypeKey = "type";
// As line_of() writes it.
constexpr std::string_view kBeginning = R"({"type":")";

MessageJson json_of_message(const RemoteHello& hello) {
  return {{kTypeKey, "hello"}, {"program", hello.program}, {"version", hello.version}};
}
MessageJson json_of_message(const RemoteListening& listening) {
  return {{kTypeKey, "listening"}, {"address", format_address(listening.at)}};
}
MessageJson json_of_message(const RemoteReport& report) {
  MessageJson body = MessageJson::parse(report.json, nullptr, false);
  if (!body.is_object()) body = nullptr;
  return {{kTypeKey, "report"},
          {"exit_code", report.exit_code},
          {"report", std::move(body)},
          {"text", report.text},
          {"error", report.error}};
}

// A report has three levels. What goes deeper was made to exhaust the stack of whoever reads it.
constexpr int kDeepest = 16;

bool is_shallow(std::string_view line) {
  int depth = 0;
  bool in_text = false;
  for (std::size_t i = 0; i < line.size(); ++i) {
    const char c = line[i];
    if (in_text && c == '\\') {
      ++i;
      continue;
    }
    if (c == '"') in_text = !in_text;
    if (in_text) continue;
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (depth > kDeepest) return false;
  }
  return true;
}

std::optional<std::string> text_in(const MessageJson& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_string()) return std::nullopt;
  return found->get<std::string>();
}

std::optional<int> small_number_in(const MessageJson& json, const char* key) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_number_integer()) return std::nullopt;
  const auto number = found->get<std::int64_t>();
  if (number < 0 || number > 1'000'000) return std::nullopt;
  return static_cast<int>(number);
}

std::optional<RemoteMessage> hello_of(const MessageJson& json) {
  auto program = text_in(json, "program");
  const auto version = small_number_in(json, "version");
  if (!program || !version) return std::nullopt;
  return RemoteHello{std::move(*program), *version};
}

std::optional<RemoteMessage> listening_of(const MessageJson& json) {
  const auto text = text_in(json, "address");
  if (!text) return std::nullopt;
  auto address = parse_address(*text);
  if (!address || !names_a_peer(*address)) return std::nullopt;
  return RemoteListening{std::move(*address)};
}

std::optional<RemoteMessage> report_of(const MessageJson& json) {
  const auto code = small_number_in(json, "exit_code");
  if (!code) return std::nullopt;
  RemoteReport report{.exit_code = *code};
  const auto body = json.find("report");
  if (body != json.end() && body->is_object()) {
    report.json = body->dump(-1, ' ', false, MessageJson::error_handler_t::replace);
  }
  report.text = text_in(json, "text").value_or("");
  report.error = text_in(json, "error").value_or("");
  return report;
}

}  // namespace

std::string line_of(const RemoteMessage& message) {
  const auto json = std::visit([](const auto& one) { return json_of_message(one); }, message);
  return json.dump(-1, ' ', false, MessageJson::error_handler_t::replace) + "\n";
}

std::optional<RemoteMessage> message_of(std::string_view line) {
  // Something may lie before it on its line, which others have not ended.
  if (!line.starts_with('{')) line.remove_prefix(std::min(line.find(kBeginning), line.size()));
  if (!line.starts_with('{') || !is_shallow(line)) return std::nullopt;
  const MessageJson json = MessageJson::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto type = text_in(json, kTypeKey);
  if (type == "hello") return hello_of(json);
  if (type == "listening") return listening_of(json);
  if (type == "report") return report_of(json);
  return std::nullopt;
}

void LineBuffer::add(std::string_view bytes, const std::function<void(std::string_view)>& on_line) {
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    const std::string_view piece = bytes.substr(0, end);
    line_.append(piece.substr(0, most_ - line_.size()));
    if (end == std::string_view::npos) return;
    on_line(line_);
    line_.clear();
    bytes.remove_prefix(end + 1);
  }
}

void LineBuffer::flush(const std::function<void(std::string_view)>& on_line) {
  if (!line_.empty()) on_line(line_);
  line_.clear();
}

}  // namespace godwit
