// Every codec and level on pages such as guests have: speed both ways and ratio, with 1 and with 64 pages in a block.
//
//   sample   runs of 16 pages, shuffled: 35 % text, 50 % machine code and data, 15 % random (already compressed, keys)
//
// Zero pages are not among them: no codec ever sees one.
#include <benchmark/benchmark.h>
#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "bench/interleaved.h"
#include "codec/codec.h"

namespace {

using namespace godwit;
using Buffer = std::vector<std::byte>;

constexpr std::size_t kPage = 4096;
constexpr std::size_t kRun = 16 * kPage;
constexpr std::size_t kRuns = 64;  // 4 MiB: beyond L2, as what lanes read is

/// Up to `size` bytes of the files of a folder, in the order of their names.
Buffer bytes_of_files(const std::filesystem::path& folder, std::size_t size) {
  std::vector<std::filesystem::path> paths;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(folder, error)) {
    if (file.is_regular_file(error) && !file.is_symlink(error)) paths.push_back(file.path());
  }
  std::ranges::sort(paths);
  Buffer bytes;
  for (const auto& path : paths) {
    if (bytes.size() >= size) break;
    std::string content(size - bytes.size(), '\0');
    std::ifstream file(path, std::ios::binary);
    file.read(content.data(), static_cast<std::streamsize>(content.size()));
    const Bytes read = bytes_of(content).first(static_cast<std::size_t>(file.gcount()));
    bytes.insert(bytes.end(), read.begin(), read.end());
  }
  return bytes;
}

Buffer make_sample() {
  constexpr std::size_t kText = kRuns * 35 / 100;
  constexpr std::size_t kCode = kRuns * 50 / 100;
  Buffer text = bytes_of_files("/usr/include", kText * kRun);
  Buffer code = bytes_of_files("/usr/bin", kCode * kRun);
  std::mt19937_64 random(1);
  Buffer noise((kRuns - kText - kCode) * kRun);
  std::ranges::generate(noise, [&] { return static_cast<std::byte>(random()); });
  std::vector<Bytes> runs;
  for (const Buffer* part : {&text, &code, &noise}) {
    for (std::size_t at = 0; at + kRun <= part->size(); at += kRun) runs.push_back(Bytes(*part).subspan(at, kRun));
  }
  std::ranges::shuffle(runs, random);
  Buffer sample;
  for (const Bytes run : runs) sample.insert(sample.end(), run.begin(), run.end());
  return sample;
}

/// The sample's blocks, each as the wire carries it: encoded, or raw where that is not smaller.
struct Case {
  Bytes sample;
  std::size_t block = 0;
  std::unique_ptr<Encoder> encoder;
  std::unique_ptr<Decoder> decoder;
  std::unique_ptr<Decoder> raw;
  std::vector<Buffer> wire;
  std::vector<bool> encoded;
  Buffer room;

  std::size_t blocks() const { return sample.size() / block; }
  Bytes input(std::size_t i) const { return sample.subspan(i * block, block); }
  std::size_t encode(std::size_t i) {
    const EncodeJob job{.ticket = i, .input = input(i), .output = room};
    EncodeDone done;
    if (!encoder->submit({&job, 1}) || !encoder->collect({&done, 1}, {})) return 0;
    return done.size;
  }
  bool decode(std::size_t i) { return (encoded[i] ? decoder : raw)->decode(wire[i], MutableBytes(room)).has_value(); }
};

/// Encodes everything and checks that it comes back.
bool prepare(Case& one) {
  one.room.resize(one.block);
  for (std::size_t i = 0; i < one.blocks(); ++i) {
    const std::size_t size = one.encoder ? one.encode(i) : 0;
    const Bytes bytes = size != 0 ? Bytes(one.room).first(size) : one.input(i);
    one.wire.emplace_back(bytes.begin(), bytes.end());
    one.encoded.push_back(size != 0);
    if (!one.decode(i) || !std::ranges::equal(one.room, one.input(i))) return false;
  }
  return true;
}

void encode(benchmark::State& state, Case* one) {
  for (auto _ : state) {
    for (std::size_t i = 0; i < one->blocks(); ++i) benchmark::DoNotOptimize(one->encode(i));
  }
  std::size_t bytes = 0;
  for (const Buffer& block : one->wire) bytes += block.size();
  state.counters["ratio"] = static_cast<double>(one->sample.size()) / static_cast<double>(bytes);
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * one->sample.size()));
}

void decode(benchmark::State& state, Case* one) {
  for (auto _ : state) {
    for (std::size_t i = 0; i < one->blocks(); ++i) benchmark::DoNotOptimize(one->decode(i));
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(state.iterations() * one->sample.size()));
}

}  // namespace

int main(int argc, char** argv) {
  bench::initialize_interleaved(argc, argv, 5, "0.02");

  const Buffer sample = make_sample();
  if (sample.size() != kRuns * kRun) {
    fmt::print(stderr, "/usr/include and /usr/bin do not hold enough for a sample\n");
    return 1;
  }
  std::vector<std::unique_ptr<Case>> cases;
  for (const char* text : {"raw", "lz4:16", "lz4:1", "zstd:-5", "zstd:-1", "zstd:1", "zstd:3", "zstd:6", "deflate:1",
                           "deflate:2", "deflate:3"}) {
    for (const std::size_t pages : {std::size_t{1}, std::size_t{64}}) {
      const CodecChoice choice = parse_codec(text).value();
      auto& one = *cases.emplace_back(std::make_unique<Case>());
      one.sample = sample;
      one.block = pages * kPage;
      one.encoder = make_encoder(choice).value();
      one.decoder = make_decoder(choice.id).value();
      one.raw = make_decoder(CodecId::kRaw).value();
      if (!prepare(one)) {
        fmt::print(stderr, "{} does not give back what it was given\n", text);
        return 1;
      }
      const std::string name = fmt::format("{}/{} page{}/", text, pages, pages == 1 ? "" : "s");
      if (one.encoder) benchmark::RegisterBenchmark((name + "encode").c_str(), encode, &one);
      benchmark::RegisterBenchmark((name + "decode").c_str(), decode, &one);
    }
  }
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
