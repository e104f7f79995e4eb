// The bodies that are JSON: rare messages, which later versions may want to say more in. spec.md has their keys.
//
// A TRY is in a statement of its own, never inside an initializer list: returning from the middle of one leaves the
// members before it undestroyed with some compilers.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "base/migration_id.h"
#include "wire/bodies.h"
#include "wire/fingerprint_json.h"
#include "wire/json_fields.h"
#include "wire/limits.h"

namespace godwit::wire {
namespace {

using nlohmann::json;

Result<Fingerprint> fingerprint_in(const json& object) {
  // A fingerprint has some twenty keys; later ones may have more.
  const json* fingerprint = TRY(object_field(object, "fingerprint", 256));
  return TRY_IN("fingerprint", fingerprint_of(*fingerprint));
}

/// Lane numbers in rising order.
Result<std::vector<std::uint16_t>> lanes_in(const json& object) {
  std::vector<std::uint16_t> lanes;
  for (const json& lane : *TRY(array_field(object, "lanes", kMaxLanes))) {
    if (!lane.is_number_unsigned() || lane.get<std::uint64_t>() >= kMaxLanes ||
        (!lanes.empty() && lane.get<std::uint64_t>() <= lanes.back())) {
      return fail(ErrorKind::kProtocol, "malformed JSON: 'lanes' is not a list of lanes in rising order");
    }
    lanes.push_back(lane.get<std::uint16_t>());
  }
  return lanes;
}

Result<std::string> id_in(const json& object) {
  std::string id = TRY(text_field(object, "id", kMaxMigrationId));
  if (!is_migration_id(id)) return fail(ErrorKind::kProtocol, "malformed JSON: 'id' is not hexadecimal");
  return id;
}

Result<std::uint32_t> patience_in(const json& object) {
  return static_cast<std::uint32_t>(
      TRY(number_field_or(object, "link_patience_ms", std::numeric_limits<std::uint32_t>::max(), 0)));
}

std::string hex_of(const Secret& secret) {
  std::string text;
  for (const std::byte b : secret) text += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return text;
}

Result<Secret> secret_in(const json& object, const std::string& key) {
  Secret secret{};
  const std::string text = TRY(text_field(object, key, 2 * secret.size()));
  const auto digit = [](char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; };
  if (text.size() != 2 * secret.size() || !std::ranges::all_of(text, [&](char c) { return digit(c) >= 0; })) {
    return fail(ErrorKind::kProtocol,
                fmt::format("malformed JSON: '{}' is not {} hexadecimal digits", key, 2 * secret.size()));
  }
  for (std::size_t i = 0; i < secret.size(); ++i) {
    secret[i] = static_cast<std::byte>(digit(text[2 * i]) * 16 + digit(text[2 * i + 1]));
  }
  return secret;
}

}  // namespace

std::string encode_json(const Hello& hello) {
  json object = {{"fingerprint", json_of(hello.fingerprint)},
                 {"lanes", hello.lanes},
                 {"program", clip(hello.program, kMaxProgramBytes)}};
  if (hello.open_lanes != 0) object["open_lanes"] = hello.open_lanes;
  if (hello.paused) object["paused"] = true;
  if (!hello.id.empty()) object["id"] = hello.id;
  if (hello.direct) object["direct"] = true;
  if (hello.lane_chunks != 1) object["lane_chunks"] = hello.lane_chunks;
  if (hello.postcopy) object["postcopy"] = true;
  if (hello.resume) object["resume"] = true;
  if (hello.link_patience_ms != 0) object["link_patience_ms"] = hello.link_patience_ms;
  if (hello.rejoin) {
    object["rejoin"] = hex_of(*hello.rejoin);
    object["attempt"] = hello.attempt;
    if (hello.gives_up) object["gives_up"] = true;
    if (hello.changes_lanes) object["changes_lanes"] = true;
  }
  return dump(object);
}

Result<Hello> decode_hello(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  Hello hello;
  hello.fingerprint = TRY(fingerprint_in(object));
  hello.lanes = TRY(number_field<std::uint16_t>(object, "lanes"));
  hello.program = TRY(text_field(object, "program", kMaxProgramBytes));
  if (object.contains("open_lanes")) hello.open_lanes = TRY(number_field<std::uint16_t>(object, "open_lanes"));
  hello.paused = TRY(flag_field(object, "paused"));
  if (object.contains("id")) hello.id = TRY(id_in(object));
  hello.direct = TRY(flag_field(object, "direct"));
  if (object.contains("lane_chunks")) hello.lane_chunks = TRY(number_field<std::uint16_t>(object, "lane_chunks"));
  hello.postcopy = TRY(flag_field(object, "postcopy"));
  hello.resume = TRY(flag_field(object, "resume"));
  hello.link_patience_ms = TRY(patience_in(object));
  if (!object.contains("rejoin")) return hello;
  hello.rejoin = TRY(secret_in(object, "rejoin"));
  hello.attempt = TRY(number_field<std::uint32_t>(object, "attempt"));
  hello.gives_up = TRY(flag_field(object, "gives_up"));
  hello.changes_lanes = TRY(flag_field(object, "changes_lanes"));
  return hello;
}

std::string encode_json(const Welcome& welcome) {
  json body = {{"fingerprint", json_of(welcome.fingerprint)}, {"program", clip(welcome.program, kMaxProgramBytes)}};
  for (std::size_t i = 0; i < welcome.warnings.size() && i < kMaxWarnings; ++i) {
    body["warnings"].push_back(clip(welcome.warnings[i], kMaxReasonBytes));
  }
  if (welcome.lanes) body["lanes"] = *welcome.lanes;
  if (welcome.keeps_paused) body["keeps_paused"] = true;
  if (welcome.stay_paused) body["stay_paused"] = true;
  if (welcome.direct) body["direct"] = true;
  if (welcome.lane_chunks != 1) body["lane_chunks"] = welcome.lane_chunks;
  if (welcome.postcopy) body["postcopy"] = true;
  if (welcome.resume) body["resume"] = true;
  if (welcome.link_patience_ms != 0) body["link_patience_ms"] = welcome.link_patience_ms;
  if (welcome.rejoin) body["rejoin"] = true;
  if (!welcome.why_not_postcopy.empty()) body["why_not_postcopy"] = clip(welcome.why_not_postcopy, kMaxReasonBytes);
  if (!welcome.why_stream.empty()) body["why_stream"] = clip(welcome.why_stream, kMaxReasonBytes);
  return dump(body);
}

Result<Welcome> decode_welcome(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  Welcome welcome;
  welcome.fingerprint = TRY(fingerprint_in(object));
  welcome.program = TRY(text_field(object, "program", kMaxProgramBytes));
  welcome.keeps_paused = TRY(flag_field(object, "keeps_paused"));
  welcome.stay_paused = TRY(flag_field(object, "stay_paused"));
  welcome.direct = TRY(flag_field(object, "direct"));
  if (object.contains("lane_chunks")) welcome.lane_chunks = TRY(number_field<std::uint16_t>(object, "lane_chunks"));
  if (object.contains("why_stream")) welcome.why_stream = TRY(text_field(object, "why_stream", kMaxReasonBytes));
  welcome.postcopy = TRY(flag_field(object, "postcopy"));
  welcome.resume = TRY(flag_field(object, "resume"));
  welcome.link_patience_ms = TRY(patience_in(object));
  welcome.rejoin = TRY(flag_field(object, "rejoin"));
  if (object.contains("why_not_postcopy")) {
    welcome.why_not_postcopy = TRY(text_field(object, "why_not_postcopy", kMaxReasonBytes));
  }
  if (object.contains("lanes")) welcome.lanes = TRY(lanes_in(object));
  const json* warnings = TRY(array_field_if(object, "warnings", kMaxWarnings));
  if (warnings == nullptr) return welcome;
  for (const json& warning : *warnings) {
    if (!warning.is_string() || warning.get_ref<const std::string&>().size() > kMaxReasonBytes) {
      return fail(ErrorKind::kProtocol, "malformed JSON: an entry of 'warnings' is not a string, or too long");
    }
    welcome.warnings.push_back(warning.get<std::string>());
  }
  return welcome;
}

std::string encode_json(const Refusal& refusal) {
  return dump({{"reason", clip(refusal.reason, kMaxReasonBytes)}});
}

Result<Refusal> decode_refusal(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  return Refusal{TRY(text_field(object, "reason", kMaxReasonBytes))};
}

std::string encode_json(const Done& done) {
  return dump({{"commit_to_resume_us", done.commit_to_resume_us},
               {"cpu_us", done.cpu_us},
               {"peak_rss", done.peak_rss},
               {"device_load_us", done.device_load_us},
               // Reserved: sources of this version may insist on it.
               {"last_fence_to_prepared_us", 0}});
}

Result<Done> decode_done(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  const auto number = [&](const std::string& key) { return number_field<std::uint64_t>(object, key); };
  Done done;
  done.commit_to_resume_us = TRY(number("commit_to_resume_us"));
  done.cpu_us = TRY(number("cpu_us"));
  done.peak_rss = TRY(number("peak_rss"));
  done.device_load_us = TRY(number("device_load_us"));
  return done;
}

std::string encode_json(const Abort& abort) {
  json body{{"kind", clip(abort.kind, kMaxKindBytes)}, {"reason", clip(abort.reason, kMaxReasonBytes)}};
  if (abort.never_ran) body["never_ran"] = true;
  return dump(body);
}

Result<Abort> decode_abort(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  Abort abort;
  abort.kind = TRY(text_field(object, "kind", kMaxKindBytes));
  abort.reason = TRY(text_field(object, "reason", kMaxReasonBytes));
  abort.never_ran = TRY(flag_field(object, "never_ran"));
  return abort;
}

}  // namespace godwit::wire
