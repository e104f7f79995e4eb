// Bodies of messages, each way. Inside this folder only: others use encode() and decode() of control.h.
#pragma once

#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "wire/messages.h"

namespace godwit::wire {

// Binary (binary_bodies.cpp). A decoder gets a body within its type's limit.
std::vector<std::byte> encode_body(const DataMap& map);
std::vector<std::byte> encode_body(const MissingMap& map);
std::vector<std::byte> encode_body(const Fenced& fenced);
std::vector<std::byte> encode_body(const PackedDevices& devices);
Result<PackedDevices> decode_packed_devices(Bytes body);
Result<DataMap> decode_data_map(Bytes body);
Result<MissingMap> decode_missing_map(Bytes body);
Result<Fenced> decode_fenced(Bytes body);

// JSON (json_bodies.cpp). Texts for people are cut to their limit, everything else goes as it is.
std::string encode_json(const Hello& hello);
std::string encode_json(const Welcome& welcome);
std::string encode_json(const Refusal& refusal);
std::string encode_json(const Done& done);
std::string encode_json(const Abort& abort);
Result<Hello> decode_hello(Bytes body);
Result<Welcome> decode_welcome(Bytes body);
Result<Refusal> decode_refusal(Bytes body);
Result<Done> decode_done(Bytes body);
Result<Abort> decode_abort(Bytes body);

}  // namespace godwit::wire
