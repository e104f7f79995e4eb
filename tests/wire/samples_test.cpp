#include "tests/wire/samples.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <type_traits>

namespace godwit::wire::testing {

std::string hex(Bytes bytes) {
  std::string digits;
  for (const std::byte b : bytes) digits += fmt::format("{:02x}", std::to_integer<unsigned>(b));
  return digits;
}

std::vector<std::byte> unhex(std::string_view digits) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoul(std::string(digits.substr(i, 2)), nullptr, 16)));
  }
  return bytes;
}

Fingerprint sample_fingerprint() {
  Fingerprint fingerprint;
  fingerprint.hypervisor = "qemu";
  fingerprint.version = "7.2.22";
  fingerprint.vm_name = "vm \"1\"";
  fingerprint.machine = "pc-i440fx-7.2";
  fingerprint.accelerator = "tcg";
  fingerprint.cpu_model = "qemu64-x86_64-cpu";
  fingerprint.cpu_features = {{"feat-1-ecx", "0x80802001"}, {"feat-1-edx", "0x078bfbfd"}};
  fingerprint.cpus = 2;
  fingerprint.blocks = {{"pc.ram", 1u << 30, 4096}, {"vga.vram", 16u << 20, 4096}};
  return fingerprint;
}

std::vector<Message> sample_messages() {
  return {
      Hello{sample_fingerprint(), 4, "godwit 0.1.0"},
      DataMap{ChunkIndex{0x01020304}, {0, 0, 0, kAllPages, kAllPages, 0x1122334455667788, 1, 0}},
      DataMapEnd{},
      DeviceBytes{unhex("00ff5145564d")},
      PackedDevices{.codec = 2, .size = 4096, .bytes = unhex("28b52ffd")},
      GuestStopped{},
      DeviceEnd{},
      MissingMap{ChunkIndex{0x01020304}, {0, 1, kAllPages}},
      MissingMapEnd{},
      StayPaused{},
      Commit{},
      Welcome{sample_fingerprint(), "godwit 0.1.0"},
      Refusal{"the machine types differ"},
      MapApplied{},
      Fenced{0xffffffff},
      Prepared{},
      Done{.commit_to_resume_us = 412, .cpu_us = 1234567, .peak_rss = 56789012, .device_load_us = 4600},
      Heartbeat{},
      Abort{"peer-lost", "lane 1: the peer closed the connection"},
  };
}

namespace {

std::string random_text(std::mt19937_64& random, std::size_t limit) {
  std::string text(random() % (limit + 1), ' ');
  for (char& c : text) c = static_cast<char>(random() % 128);  // control characters, quotes and all
  return text;
}

/// Any number of bits, so that small values come as often as large ones.
std::uint64_t random_number(std::mt19937_64& random) {
  return random() >> (random() % 64);
}

std::map<std::string, std::string> random_texts(std::mt19937_64& random) {
  std::map<std::string, std::string> texts;
  for (auto n = random() % 10; n > 0; --n) texts[random_text(random, 255)] = random_text(random, 255);
  return texts;
}

void fill_machine(Fingerprint& fingerprint, std::mt19937_64& random) {
  for (std::string* text : {&fingerprint.uuid, &fingerprint.machine_alias, &fingerprint.boot_id}) {
    *text = random_text(random, 255);
  }
  fingerprint.physical_bits = static_cast<unsigned>(random() % 256);
  for (auto n = random() % 8; n > 0; --n) {
    fingerprint.topology[random_text(random, 255)] = static_cast<std::uint32_t>(random_number(random));
    fingerprint.cpu_places.push_back(random_text(random, 255));
    fingerprint.memory.push_back({random_text(random, 255), random_number(random), random_number(random)});
    fingerprint.devices.push_back(
        {random_text(random, 255), random_text(random, 255), random_text(random, 255), random_texts(random)});
  }
  fingerprint.machine_properties = random_texts(random);
}

Disk random_disk(std::mt19937_64& random, bool with_layers = true) {
  Disk disk;
  for (std::string* text :
       {&disk.place, &disk.name, &disk.node, &disk.format, &disk.file, &disk.file_system, &disk.block_id}) {
    *text = random_text(random, 255);
  }
  for (std::uint64_t* number : {&disk.size, &disk.device, &disk.inode, &disk.sample_key})
    *number = random_number(random);
  for (bool* flag : {&disk.inserted, &disk.read_only, &disk.firmware, &disk.direct, &disk.no_flush, &disk.silent}) {
    *flag = random() % 2 == 0;
  }
  disk.storage = static_cast<Storage>(random() % 4);
  for (auto n = random() % 64; n > 0; --n) disk.samples.push_back({random_number(random), random_number(random)});
  disk.layers_told = with_layers && random() % 2 == 0;
  for (auto n = disk.layers_told ? random() % 4 : 0; n > 0; --n) disk.layers.push_back(random_disk(random, false));
  return disk;
}

Fingerprint random_fingerprint(std::mt19937_64& random) {
  Fingerprint fingerprint;
  for (std::string* text : {&fingerprint.hypervisor, &fingerprint.version, &fingerprint.vm_name, &fingerprint.machine,
                            &fingerprint.accelerator, &fingerprint.cpu_model}) {
    *text = random_text(random, 255);
  }
  for (auto n = random() % 40; n > 0; --n) {
    fingerprint.cpu_features[random_text(random, 255)] = random_text(random, 40);
  }
  fingerprint.cpus = static_cast<unsigned>(random_number(random));
  for (auto n = random() % 20; n > 0; --n) {
    fingerprint.blocks.push_back({random_text(random, 255), random_number(random), random_number(random)});
  }
  fill_machine(fingerprint, random);
  for (auto n = random() % 5; n > 0; --n) fingerprint.disks.push_back(random_disk(random));
  return fingerprint;
}

DataMap random_map(std::mt19937_64& random) {
  DataMap map;
  const auto count = 1 + random_number(random) % 65536;
  map.first = ChunkIndex{static_cast<std::uint32_t>(random_number(random) % (0xffffffff - count))};
  while (map.words.size() < count) {
    const auto run = std::min(1 + random_number(random) % 100, count - map.words.size());
    const auto kind = random() % 3;
    for (std::uint64_t i = 0; i < run; ++i) {
      map.words.push_back(kind == 0 ? 0 : kind == 1 ? kAllPages : random_number(random));
    }
  }
  return map;
}

void fill(Hello& m, std::mt19937_64& random) {
  m = {random_fingerprint(random), static_cast<std::uint16_t>(random()), random_text(random, 256)};
  if (random() % 2 == 0) m.open_lanes = static_cast<std::uint16_t>(random());
  m.direct = random() % 2 == 0;
  if (random() % 2 == 0) m.id = std::string(1 + random() % 64, "0123456789abcdef"[random() % 16]);
}
void fill(Welcome& m, std::mt19937_64& random) {
  m = {random_fingerprint(random), random_text(random, 256), {}};
  for (auto n = random() % 4; n > 0; --n) m.warnings.push_back(random_text(random, 4096));
  m.direct = random() % 2 == 0;
  if (random() % 2 == 0) m.why_stream = random_text(random, 4096);
  m.resume = random() % 2 == 0;
  m.link_patience_ms = static_cast<std::uint32_t>(random() % 3 * 1000);
  if (random() % 2 == 0) return;
  m.lanes.emplace();
  for (std::uint16_t lane = 0; lane < 64; ++lane) {
    if (random() % 2 == 0) m.lanes->push_back(lane);
  }
}
void fill(DataMap& m, std::mt19937_64& random) {
  m = random_map(random);
}
void fill(DeviceBytes& m, std::mt19937_64& random) {
  m.bytes.resize(random() % 5000);
  for (auto& byte : m.bytes) byte = static_cast<std::byte>(random());
}
void fill(MissingMap& m, std::mt19937_64& random) {
  DataMap map;
  fill(map, random);
  m = {map.first, map.words};
}
void fill(PackedDevices& m, std::mt19937_64& random) {
  m.codec = static_cast<std::uint8_t>(random());
  m.size = static_cast<std::uint32_t>(1 + random() % kMaxPackedDevices);
  m.bytes.resize(1 + random() % 5000);
  for (auto& byte : m.bytes) byte = static_cast<std::byte>(random());
}
void fill(Refusal& m, std::mt19937_64& random) {
  m = {random_text(random, 4096)};
}
void fill(Fenced& m, std::mt19937_64& random) {
  m = {static_cast<std::uint32_t>(random())};
}
void fill(Done& m, std::mt19937_64& random) {
  m = {random_number(random), random_number(random), random_number(random), random_number(random)};
}
void fill(Abort& m, std::mt19937_64& random) {
  m = {random_text(random, 64), random_text(random, 4096), random() % 2 == 0};
}

}  // namespace

Message random_message(std::mt19937_64& random) {
  auto samples = sample_messages();
  Message message = samples[random() % samples.size()];
  std::visit(
      [&](auto& m) {
        if constexpr (!std::is_empty_v<std::remove_cvref_t<decltype(m)>>) fill(m, random);
      },
      message);
  return message;
}

TEST(Samples, HaveEveryTypeInOrder) {
  const auto samples = sample_messages();
  ASSERT_EQ(samples.size(), std::variant_size_v<Message>);
  for (std::size_t i = 0; i < samples.size(); ++i) EXPECT_EQ(samples[i].index(), i);
}

}  // namespace godwit::wire::testing
