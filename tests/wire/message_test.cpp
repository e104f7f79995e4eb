// Bodies of control messages: round trips, damage, limits.
#include <gtest/gtest.h>

#include "tests/wire/samples.h"
#include "wire/control.h"
#include "wire/fingerprint_json.h"
#include "wire/limits.h"
#include "wire/message_types.h"

namespace godwit::wire::testing::message_test {
namespace {

constexpr auto kDeviceBytes = static_cast<std::uint16_t>(MessageType::kDeviceBytes);
constexpr auto kPackedDevices = static_cast<std::uint16_t>(MessageType::kPackedDevices);

std::uint16_t number_of(MessageType type) {
  return static_cast<std::uint16_t>(type);
}

Result<Message> decode_text(MessageType type, std::string_view text) {
  return decode(number_of(type), bytes_of(text));
}

void expect_protocol_error(const Result<Message>& result, std::string_view with = "") {
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().kind, ErrorKind::kProtocol);
  EXPECT_NE(result.error().message.find(with), std::string::npos) << result.error().message;
}

TEST(Message, RandomValuesSurviveARoundTrip) {
  std::mt19937_64 random(20);
  for (int i = 0; i < 1000; ++i) {
    const Message message = random_message(random);
    const Encoded encoded = encode(message);
    ASSERT_LE(encoded.body.size(), body_limit(encoded.type));
    const auto decoded = decode(encoded.type, encoded.body);
    ASSERT_TRUE(decoded) << decoded.error().message;
    ASSERT_TRUE(*decoded == message) << "type " << encoded.type;
  }
}

TEST(Message, TruncatedOrExtendedIsRefused) {
  for (const Message& message : sample_messages()) {
    Encoded encoded = encode(message);
    // Any bytes are device bytes, and of packed ones the codec tells (DeviceLoader).
    if (encoded.type == kDeviceBytes || encoded.type == kPackedDevices) continue;
    for (std::size_t length = 0; length < encoded.body.size(); ++length) {
      const auto decoded = decode(encoded.type, Bytes(encoded.body).first(length));
      ASSERT_FALSE(decoded) << "type " << encoded.type << " of " << length << " bytes";
      ASSERT_EQ(decoded.error().kind, ErrorKind::kProtocol);
    }
    encoded.body.push_back(std::byte{0});
    expect_protocol_error(decode(encoded.type, encoded.body));
  }
}

TEST(Message, DamagedBodiesNeverCrash) {
  std::mt19937_64 random(21);
  int refused = 0;
  for (int i = 0; i < 3000; ++i) {
    const auto messages = sample_messages();
    Encoded encoded = encode(messages[random() % messages.size()]);
    if (encoded.body.empty()) continue;
    for (auto n = 1 + random() % 3; n > 0; --n) {
      encoded.body[random() % encoded.body.size()] = static_cast<std::byte>(random());
    }
    const auto decoded = decode(encoded.type, encoded.body);
    if (decoded) continue;
    ++refused;
    ASSERT_EQ(decoded.error().kind, ErrorKind::kProtocol);
  }
  EXPECT_GT(refused, 100);
}

TEST(Message, UnknownTypesAreRefused) {
  int known = 0;
  for (unsigned type = 0; type <= 0xffff; ++type) {
    if (is_known(static_cast<std::uint16_t>(type))) {
      ++known;
      continue;
    }
    const auto decoded = decode(static_cast<std::uint16_t>(type), {});
    ASSERT_FALSE(decoded);
    ASSERT_EQ(decoded.error().kind, ErrorKind::kProtocol);
    ASSERT_EQ(body_limit(static_cast<std::uint16_t>(type)), 0u);
  }
  EXPECT_EQ(known, static_cast<int>(std::variant_size_v<Message>));
}

TEST(Message, ABodyOverItsLimitIsRefused) {
  for (const Message& message : sample_messages()) {
    const auto type = encode(message).type;
    expect_protocol_error(decode(type, std::vector<std::byte>(body_limit(type) + 1)), "at most");
  }
}

TEST(Json, UnknownKeysAreIgnored) {
  const auto decoded = decode_text(MessageType::kRefusal, R"({"later":[{"x":null}],"reason":"no","more":1.5})");
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_TRUE(*decoded == Message(Refusal{"no"}));
}

TEST(Json, MissingKeysAreNamed) {
  for (const Message& message : sample_messages()) {
    const Encoded encoded = encode(message);
    const std::string body(text_of(encoded.body));
    if (!body.starts_with('{')) continue;
    // Each key in turn gets another name, at any depth.
    int keys = 0;
    for (std::size_t end = body.find("\":"); end != std::string::npos; end = body.find("\":", end + 1)) {
      const std::size_t begin = body.rfind('"', end - 1) + 1;
      const std::string key = body.substr(begin, end - begin);
      if (key.starts_with("feat-") || key == "last_fence_to_prepared_us") continue;
      std::string damaged = body;
      damaged.replace(begin, end - begin, "another");
      expect_protocol_error(decode(encoded.type, bytes_of(damaged)), "'" + key + "' is missing");
      ++keys;
    }
    EXPECT_GT(keys, 0);
  }
}

TEST(Json, WrongTypesAndRangesAreRefused) {
  const auto done = [](std::string_view value) {
    return decode_text(MessageType::kDone, R"({"commit_to_resume_us":)" + std::string(value) +
                                               R"(,"cpu_us":0,"peak_rss":0,"device_load_us":0,)"
                                               R"("last_fence_to_prepared_us":0})");
  };
  ASSERT_TRUE(done("18446744073709551615"));
  for (const char* value : {"-1", "1.0", "1e3", "\"1\"", "true", "null", "[]", "{}", "18446744073709551616"}) {
    expect_protocol_error(done(value), "'commit_to_resume_us'");
  }
  expect_protocol_error(decode_text(MessageType::kRefusal, R"({"reason":7})"), "'reason' is not a string");
  for (const char* body : {"", "null", "[]", "\"reason\"", "{", "{}}", "{\"reason\":\"\xff\"}"}) {
    expect_protocol_error(decode_text(MessageType::kRefusal, body));
  }
}

/// Older sinks and sources of this version know it: it is written, and whatever it holds is read past.
TEST(Json, AReservedKeyOfDoneIsWrittenAndIgnored) {
  const Done done{.commit_to_resume_us = 1, .cpu_us = 2, .peak_rss = 3, .device_load_us = 4};
  const std::string body(text_of(encode(done).body));
  const std::string reserved = R"("last_fence_to_prepared_us":0,)";
  const auto at = body.find(reserved);
  ASSERT_NE(at, std::string::npos) << body;
  for (const char* instead : {R"("last_fence_to_prepared_us":5100,)", R"("last_fence_to_prepared_us":"x",)", ""}) {
    std::string other = body;
    const auto decoded = decode_text(MessageType::kDone, other.replace(at, reserved.size(), instead));
    ASSERT_TRUE(decoded) << instead << ": " << decoded.error().message;
    EXPECT_TRUE(std::get<Done>(*decoded) == done) << instead;
  }
}

TEST(Json, LanesFitSixteenBits) {
  const std::string fingerprint = fingerprint_to_json(sample_fingerprint());
  const auto hello = [&](const std::string& lanes) {
    return decode_text(MessageType::kHello,
                       R"({"fingerprint":)" + fingerprint + R"(,"program":"","lanes":)" + lanes + "}");
  };
  EXPECT_TRUE(hello("65535"));
  expect_protocol_error(hello("65536"), "'lanes' is 65536");
}

/// Keys of later programs: absent they are false, and then nothing of them is sent.
TEST(Json, FlagsHaveADefault) {
  Hello hello{sample_fingerprint(), 2, "godwit"};
  Welcome welcome{sample_fingerprint(), "godwit"};
  for (const bool set : {false, true}) {
    hello.paused = welcome.keeps_paused = welcome.stay_paused = set;
    hello.resume = welcome.resume = set;
    for (const Message& message : {Message(hello), Message(welcome)}) {
      const Encoded encoded = encode(message);
      EXPECT_EQ(text_of(encoded.body).find("paused") != std::string_view::npos, set);
      const auto decoded = decode(encoded.type, encoded.body);
      ASSERT_TRUE(decoded) << decoded.error().message;
      EXPECT_TRUE(*decoded == message);
    }
  }
  const Encoded encoded = encode(hello);
  std::string wrong(text_of(encoded.body));
  wrong.replace(wrong.find("\"paused\":true"), 13, "\"paused\":1");
  expect_protocol_error(decode_text(MessageType::kHello, wrong), "paused");
}

TEST(Json, ASourceThatComesBackShowsTheSessionsSecret) {
  Hello hello{sample_fingerprint(), 2, "godwit"};
  Welcome welcome{sample_fingerprint(), "godwit"};
  const auto plain = encode(hello);
  EXPECT_EQ(text_of(plain.body).find("patience"), std::string_view::npos);
  EXPECT_EQ(text_of(plain.body).find("rejoin"), std::string_view::npos);
  hello.link_patience_ms = welcome.link_patience_ms = 30'000;
  hello.rejoin.emplace();
  for (std::size_t i = 0; i < hello.rejoin->size(); ++i) (*hello.rejoin)[i] = static_cast<std::byte>(i * 9);
  hello.attempt = 3;
  EXPECT_EQ(text_of(encode(hello).body).find("gives_up"), std::string_view::npos);
  EXPECT_EQ(text_of(encode(hello).body).find("changes_lanes"), std::string_view::npos);
  hello.gives_up = hello.changes_lanes = true;
  welcome.rejoin = true;
  for (const Message& message : {Message(hello), Message(welcome)}) {
    const Encoded encoded = encode(message);
    const auto decoded = decode(encoded.type, encoded.body);
    ASSERT_TRUE(decoded) << decoded.error().message;
    EXPECT_TRUE(*decoded == message);
  }
  const std::string text(text_of(encode(hello).body));
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string wrong = text;
    wrong.replace(wrong.find(from), from.size(), to);
    return decode_text(MessageType::kHello, wrong);
  };
  EXPECT_TRUE(with("0009121b", "0009121b")) << "part of what the others change";
  expect_protocol_error(with("0009121b", "0009121B"), "'rejoin' is not 64 hexadecimal digits");
  expect_protocol_error(with("0009121b", "000912"), "'rejoin' is not 64 hexadecimal digits");
  expect_protocol_error(with("\"attempt\":3", "\"attempt\":-1"), "attempt");
  expect_protocol_error(with("\"attempt\":3,", ""), "attempt");
  expect_protocol_error(with("\"gives_up\":true", "\"gives_up\":1"), "gives_up");
  expect_protocol_error(with("\"changes_lanes\":true", "\"changes_lanes\":1"), "changes_lanes");
}

TEST(Json, AMigrationsIdIsOptionalAndHexadecimal) {
  Hello hello{sample_fingerprint(), 2, "godwit"};
  const auto without = encode(hello);
  EXPECT_EQ(std::get<Hello>(*decode(without.type, without.body)).id, "");
  hello.id = "3f2a9c01d4e7";
  const Encoded encoded = encode(hello);
  const auto decoded = decode(encoded.type, encoded.body);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(std::get<Hello>(*decoded).id, "3f2a9c01d4e7");
  const std::string text(text_of(encoded.body));
  const auto with_id = [&](const std::string& value) {
    std::string changed = text;
    changed.replace(changed.find("\"3f2a9c01d4e7\""), 14, value);
    return decode_text(MessageType::kHello, changed);
  };
  EXPECT_TRUE(with_id('"' + std::string(64, 'a') + '"'));
  expect_protocol_error(with_id('"' + std::string(65, 'a') + '"'), "'id' has 65 bytes");
  for (const std::string wrong : {R"("")", R"("3F")", R"("a\nb")", R"("../x")"}) {
    expect_protocol_error(with_id(wrong), "'id' is not hexadecimal");
  }
  expect_protocol_error(with_id("7"), "'id' is not a string");
}

TEST(Json, DeepNestingIsRefusedBeforeItIsBuilt) {
  const std::size_t limit = body_limit(number_of(MessageType::kHello));
  expect_protocol_error(decode_text(MessageType::kHello, std::string(limit, '[')), "nested");
  expect_protocol_error(decode_text(MessageType::kHello, R"({"a":[[[[[[[[0]]]]]]]]})"), "nested");
  EXPECT_TRUE(decode_text(MessageType::kRefusal, R"({"reason":"[[[[[[[[[[[[\"[[[[[[","a":[[[[0]]]]})"));
}

TEST(Json, TextsOverTheirLimitAreRefused) {
  const auto refusal = [](std::size_t size) {
    return decode_text(MessageType::kRefusal, R"({"reason":")" + std::string(size, 'x') + "\"}");
  };
  EXPECT_TRUE(refusal(kMaxReasonBytes));
  expect_protocol_error(refusal(kMaxReasonBytes + 1), "'reason' has 4097 bytes");
}

TEST(Json, NeverRanMayBeLeftOut) {
  const auto never_ran = [](const char* key) {
    return decode_text(MessageType::kAbort, std::string(R"({"kind":"io","reason":"x")") + key + "}");
  };
  EXPECT_FALSE(std::get<Abort>(never_ran("").value()).never_ran);
  EXPECT_TRUE(std::get<Abort>(never_ran(R"(,"never_ran":true)").value()).never_ran);
  expect_protocol_error(never_ran(R"(,"never_ran":1)"), "neither true nor false");
}

TEST(Json, ReasonsAreCutAndMadeUtf8BySenders) {
  const Encoded long_one = encode(Refusal{std::string(kMaxReasonBytes - 1, 'x') + "\u00e4 and more"});
  const auto cut = decode(long_one.type, long_one.body);
  ASSERT_TRUE(cut) << cut.error().message;
  EXPECT_EQ(std::get<Refusal>(*cut).reason, std::string(kMaxReasonBytes - 1, 'x')) << "no half characters";

  const Encoded damaged = encode(Abort{"io", "bad \xff byte"});
  const auto fixed = decode(damaged.type, damaged.body);
  ASSERT_TRUE(fixed) << fixed.error().message;
  EXPECT_EQ(std::get<Abort>(*fixed).reason, "bad \uFFFD byte");

  const Encoded all_damaged = encode(Refusal{std::string(kMaxReasonBytes, '\xff')});
  EXPECT_TRUE(decode(all_damaged.type, all_damaged.body));
}

TEST(FingerprintJson, KeepsItsLimits) {
  const auto is_read = [](const Fingerprint& fingerprint) {
    return fingerprint_from_json(fingerprint_to_json(fingerprint)).has_value();
  };
  Fingerprint fingerprint = sample_fingerprint();
  EXPECT_TRUE(is_read(fingerprint));
  fingerprint.machine = std::string(kMaxNameBytes + 1, 'm');
  EXPECT_FALSE(is_read(fingerprint));

  fingerprint = sample_fingerprint();
  fingerprint.blocks.resize(kMaxBlocks);
  EXPECT_TRUE(is_read(fingerprint));
  fingerprint.blocks.resize(kMaxBlocks + 1);
  EXPECT_FALSE(is_read(fingerprint));

  fingerprint = sample_fingerprint();
  fingerprint.cpu_features[std::string(kMaxNameBytes + 1, 'f')] = "0x0";
  EXPECT_FALSE(is_read(fingerprint));

  fingerprint = sample_fingerprint();
  for (std::size_t i = 0; i < kMaxCpuFeatures; ++i) fingerprint.cpu_features[std::to_string(i)] = "0x0";
  EXPECT_FALSE(is_read(fingerprint));
}

/// As long as QEMU's are, not as long as they may be: names at their longest would be refused by their sum.
TEST(Hello, OfTheLargestVmFitsItsMessage) {
  Hello hello{sample_fingerprint(), 1, "godwit"};
  Fingerprint& vm = hello.fingerprint;
  vm.cpus = most::kCpus;
  vm.cpu_places.clear();
  for (std::size_t i = 0; i < most::kCpus; ++i) {
    vm.cpu_places.push_back("socket-id " + std::to_string(i / 64) + " core-id " + std::to_string(i % 64) +
                            " thread-id 1");
  }
  vm.blocks.clear();
  vm.memory.clear();
  for (std::size_t i = 0; i < most::kRamBlocks; ++i) {
    const std::string name = "/objects/a-memory-backend-of-a-dimm-" + std::to_string(i);
    vm.blocks.push_back({name, most::kRam / most::kRamBlocks, 4096});
    vm.memory.push_back({name, most::kRam / most::kRamBlocks, most::kRam / most::kRamBlocks});
  }
  vm.devices.clear();
  for (std::size_t i = 0; i < most::kDevices; ++i) {
    // 256 KiB of properties of all devices, no more.
    vm.devices.push_back({"PCI 0e.0 / PCI 01.0 / SCSI 0:0:" + std::to_string(i),
                          "virtio-net-pci-non-transitional",
                          "device" + std::to_string(i),
                          {{"a-property-of-the-device", std::string(200, 'v')}}});
  }
  vm.disks.assign(most::kDisks, {});
  for (std::size_t i = 0; i < most::kDisks; ++i) {
    Disk& disk = vm.disks[i];
    disk.place = vm.devices[i].place;
    disk.name = disk.node = "libvirt-" + std::to_string(i) + "-format";
    disk.format = "qcow2";
    disk.file = "/var/lib/libvirt/images/a-customer/a-virtual-machine/disk-" + std::to_string(i) + ".qcow2";
  }
  const Encoded encoded = encode(hello);
  EXPECT_LT(encoded.body.size(), kMaxHelloBody * 3 / 4);
  const auto decoded = decode(encoded.type, encoded.body);
  ASSERT_TRUE(decoded) << decoded.error().message;
  EXPECT_EQ(std::get<Hello>(*decoded), hello);
}

TEST(FingerprintJson, KeepsTheLimitsOfTheMachine) {
  const auto is_read = [](const auto& change) {
    Fingerprint fingerprint = sample_fingerprint();
    change(fingerprint);
    return fingerprint_from_json(fingerprint_to_json(fingerprint)).has_value();
  };
  using F = Fingerprint;
  const std::string long_name(kMaxNameBytes + 1, 'x');
  EXPECT_TRUE(is_read([](F& f) { f.devices.resize(kMaxDevices), f.disks.resize(kMaxDisks); }));
  EXPECT_FALSE(is_read([](F& f) { f.devices.resize(kMaxDevices + 1); }));
  EXPECT_FALSE(is_read([](F& f) { f.disks.resize(kMaxDisks + 1); }));
  EXPECT_FALSE(is_read([](F& f) { f.memory.resize(kMaxBlocks + 1); }));
  EXPECT_FALSE(is_read([](F& f) { f.cpu_places.resize(kMaxCpuPlaces + 1); }));
  EXPECT_FALSE(is_read([&](F& f) { f.cpu_places = {long_name}; }));
  EXPECT_FALSE(is_read([&](F& f) { f.uuid = long_name; }));
  EXPECT_FALSE(is_read([&](F& f) { f.devices = {{long_name, "", "", {}}}; }));
  EXPECT_FALSE(is_read([&](F& f) { f.devices = {{"", "", "", {{long_name, ""}}}}; }));
  EXPECT_FALSE(is_read([&](F& f) { f.topology[long_name] = 1; }));
  EXPECT_FALSE(is_read([](F& f) { f.physical_bits = 256; }));
  EXPECT_FALSE(is_read([](F& f) {
    for (std::size_t i = 0; i <= kMaxProperties; ++i) f.machine_properties[std::to_string(i)] = "";
  }));
  EXPECT_FALSE(is_read([](F& f) { f.disks.resize(1), f.disks[0].samples.resize(kMaxSamples + 1); }));
  const auto with_layers = [](F& f, std::size_t count) {
    f.disks.resize(1);
    f.disks[0].layers_told = true;
    f.disks[0].layers.resize(count);
  };
  EXPECT_TRUE(is_read([&](F& f) { with_layers(f, kMaxLayers); }));
  EXPECT_FALSE(is_read([&](F& f) { with_layers(f, kMaxLayers + 1); }));
}

TEST(FingerprintJson, OptionalKeysOfAWrongTypeAreRefused) {
  const std::string rest = fingerprint_to_json(sample_fingerprint()).substr(1);
  ASSERT_TRUE(fingerprint_from_json("{" + rest));
  for (const char* key :
       {R"("uuid":1)", R"("physical_bits":"40")", R"("topology":[])", R"("topology":{"maxcpus":-1})",
        R"("cpu_places":[1])", R"("memory":[{"name":"x"}])", R"("memory":[1])", R"("devices":{})",
        R"("devices":[{"place":"x"}])", R"("devices":[{"place":"x","type":"y","properties":[]}])",
        R"("disks":[{"name":"x"}])", R"("disks":[{"name":"x","size":1,"inserted":1}])",
        R"("disks":[{"name":"x","size":1,"samples":[0]}])", R"("disks":[{"name":"x","size":1,"layers":[0]}])",
        R"("disks":[{"name":"x","size":1,"layers":[{"name":"y"}]}])"}) {
    const auto read = fingerprint_from_json("{" + std::string(key) + "," + rest);
    ASSERT_FALSE(read) << key;
    EXPECT_EQ(read.error().kind, ErrorKind::kProtocol);
  }
}

TEST(Json, WarningsOfAWelcomeAreOptionalAndBounded) {
  const std::string fingerprint = fingerprint_to_json(sample_fingerprint());
  const auto welcome = [&](const std::string& more) {
    return decode_text(MessageType::kWelcome, R"({"fingerprint":)" + fingerprint + R"(,"program":"")" + more + "}");
  };
  EXPECT_TRUE(welcome(""));
  EXPECT_TRUE(welcome(R"(,"warnings":["x"])"));
  expect_protocol_error(welcome(R"(,"warnings":[1])"), "warnings");
  expect_protocol_error(welcome(R"(,"warnings":"x")"), "warnings");
  std::string many = R"(,"warnings":[""])";
  for (std::size_t i = 0; i < kMaxWarnings; ++i) many.insert(many.size() - 1, R"(,"")");
  expect_protocol_error(welcome(many), "warnings");
}

TEST(FingerprintJson, ComesBackAsItWas) {
  const auto read = fingerprint_from_json(fingerprint_to_json(sample_fingerprint()));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, sample_fingerprint());
}

}  // namespace
}  // namespace godwit::wire::testing::message_test
