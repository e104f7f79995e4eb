// The bodies that are JSON: rare messages, which later versions may want to say more in. spec.md has their keys.
//
// A TRY stands in a statement of its own, never inside an initializer list: returning from the middle of one leaves the
// members before it undestroyed with some compilers.
#include <nlohmann/json.hpp>

#include "wire/bodies.h"
#include "wire/fingerprint_json.h"
#include "wire/json_fields.h"
#include "wire/limits.h"

namespace godwit::wire {
namespace {

using nlohmann::json;

Result<Fingerprint> fingerprint_in(const json& object) {
  // A fingerprint has nine keys; later ones may have more.
  const json* fingerprint = TRY(object_field(object, "fingerprint", 256));
  return TRY_IN("fingerprint", fingerprint_of(*fingerprint));
}

}  // namespace

std::string encode_json(const Hello& hello) {
  json object{{"fingerprint", json_of(hello.fingerprint)},
              {"lanes", hello.lanes},
              {"program", clip(hello.program, kMaxProgramBytes)}};
  if (hello.paused) object["paused"] = true;
  return dump(object);
}

Result<Hello> decode_hello(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  Hello hello;
  hello.fingerprint = TRY(fingerprint_in(object));
  hello.lanes = TRY(number_field<std::uint16_t>(object, "lanes"));
  hello.program = TRY(text_field(object, "program", kMaxProgramBytes));
  hello.paused = TRY(flag_field(object, "paused"));
  return hello;
}

std::string encode_json(const Welcome& welcome) {
  json object{{"fingerprint", json_of(welcome.fingerprint)}, {"program", clip(welcome.program, kMaxProgramBytes)}};
  if (welcome.keeps_paused) object["keeps_paused"] = true;
  return dump(object);
}

Result<Welcome> decode_welcome(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  Welcome welcome;
  welcome.fingerprint = TRY(fingerprint_in(object));
  welcome.program = TRY(text_field(object, "program", kMaxProgramBytes));
  welcome.keeps_paused = TRY(flag_field(object, "keeps_paused"));
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
               {"last_fence_to_prepared_us", done.last_fence_to_prepared_us}});
}

Result<Done> decode_done(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  const auto number = [&](const std::string& key) { return number_field<std::uint64_t>(object, key); };
  Done done;
  done.commit_to_resume_us = TRY(number("commit_to_resume_us"));
  done.cpu_us = TRY(number("cpu_us"));
  done.peak_rss = TRY(number("peak_rss"));
  done.device_load_us = TRY(number("device_load_us"));
  done.last_fence_to_prepared_us = TRY(number("last_fence_to_prepared_us"));
  return done;
}

std::string encode_json(const Abort& abort) {
  return dump({{"kind", clip(abort.kind, kMaxKindBytes)}, {"reason", clip(abort.reason, kMaxReasonBytes)}});
}

Result<Abort> decode_abort(Bytes body) {
  const json object = TRY(parse_object(text_of(body)));
  Abort abort;
  abort.kind = TRY(text_field(object, "kind", kMaxKindBytes));
  abort.reason = TRY(text_field(object, "reason", kMaxReasonBytes));
  return abort;
}

}  // namespace godwit::wire
