// What TLS costs: a stream of blocks on one connection, and opening a migration's connections.
//
//   stream/...   blocks of 256 KiB over TCP on loopback to a thread that reads them; user: CPU time of both sides per
//   byte open/.../N/M   greeting, N lanes side by side, Hello, until the broker has them all, where a round trip takes
//   M milliseconds (a relay passes things on late; a TCP connection is counted as one round trip): real time
#include <fmt/format.h>
#include <sys/resource.h>

#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <optional>
#include <random>
#include <thread>

#include "bench/interleaved.h"
#include "bench/tls/delayed_relay.h"
#include "engine/broker.h"
#include "engine/open_lanes.h"
#include "tls/issuer.h"
#include "tls/tls_channel.h"
#include "wire/control.h"

namespace {

using namespace godwit;

constexpr std::size_t kBlock = 256 * 1024;
constexpr std::size_t kBlocks = 1024;  // 256 MiB

[[noreturn]] void die(const Error& error) {
  fmt::print(stderr, "{}\n", error.message);
  std::exit(1);
}

template <typename T>
T must(Result<T> result) {
  if (!result) die(result.error());
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

/// A folder with a CA and a certificate for both sides.
class Pki {
 public:
  Pki() {
    std::string pattern = (std::filesystem::temp_directory_path() / "godwit-bench-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    folder_ = pattern;
    const std::time_t now = std::time(nullptr);
    const ValidFor valid{now - 60, now + 3600};
    const auto ca = must(Issuer::make("bench", valid));
    const std::vector<std::string> names{"127.0.0.1"};
    const auto issued = must(ca.issue(names, CertificateUse::kBoth, valid));
    std::ofstream(file("ca")) << ca.certificate();
    std::ofstream(file("cert")) << issued.certificate;
    std::ofstream(file("key")) << issued.key;
    std::filesystem::permissions(file("key"), std::filesystem::perms::owner_read);
  }
  ~Pki() { std::filesystem::remove_all(folder_); }
  Trust trust() const {
    return CertificateFiles{.ca = file("ca"), .crl = {}, .certificate = file("cert"), .key = file("key")};
  }

 private:
  std::string file(const char* name) const { return folder_ + "/" + name; }
  std::string folder_;
};

struct Way {
  std::string name;
  std::function<Trust()> trust;
  Wrap connected() const {
    if (std::holds_alternative<NoTrust>(trust())) return {};
    return tls_connected(must(TlsContext::make(TlsSide::kClient, trust(), "127.0.0.1")), std::chrono::seconds(60));
  }
  Wrap accepted() const {
    if (std::holds_alternative<NoTrust>(trust())) return {};
    return tls_accepted(must(TlsContext::make(TlsSide::kServer, trust(), "")));
  }
};

double cpu_seconds() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

std::unique_ptr<Listener> listen() {
  return must(listen_on(must(parse_address("tcp://127.0.0.1:0"))));
}

void stream(benchmark::State& state, const Way& way) {
  const auto listener = listen();
  std::vector<std::byte> block(kBlock), arrived(kBlock);
  std::mt19937_64 random(1);
  for (auto& byte : block) byte = static_cast<std::byte>(random());
  const auto connect = wrapped([&] { return connect_to(listener->address()); }, way.connected());
  const auto accepted = way.accepted();
  double cpu = 0;
  for (auto _ : state) {
    std::jthread receiver([&] {
      auto far = must(listener->accept(std::chrono::seconds(10)));
      if (accepted) far = must(accepted(std::move(far)));
      for (std::size_t i = 0; i < kBlocks; ++i) {
        // As lanes do: a header, then the block.
        must(receive_bytes(*far, MutableBytes(arrived).first(64)));
        must(receive_bytes(*far, arrived));
      }
      if (arrived != block) die({ErrorKind::kIo, "what arrived is not what was sent"});
      must(send_bytes(*far, Bytes(block).first(1)));
    });
    const auto near = must(connect());
    const double before = cpu_seconds();
    for (std::size_t i = 0; i < kBlocks; ++i) {
      const std::array parts{iovec{block.data(), 64}, iovec{block.data(), block.size()}};
      must(near->write(parts, Deadline::never()));
    }
    std::byte done{};
    must(receive_bytes(*near, MutableBytes(&done, 1)));
    cpu += cpu_seconds() - before;
  }
  const auto bytes = static_cast<double>(state.iterations()) * kBlocks * kBlock;
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  state.counters["cpu_ns_per_KiB"] = cpu * 1e9 / (bytes / 1024);
}

void open(benchmark::State& state, const Way& way) {
  const auto lanes = static_cast<unsigned>(state.range(0));
  const SteadyClock clock;
  const auto listener = listen();
  const std::chrono::milliseconds round_trip(state.range(1));
  std::optional<bench::DelayedRelay> relay;
  if (round_trip.count() != 0) relay.emplace(listen(), listener->address(), round_trip);
  const auto address = relay ? relay->address() : listener->address();
  Broker broker(*listener, clock, 1, {}, way.accepted());
  wire::Hello hello{.lanes = static_cast<std::uint16_t>(lanes), .program = "bench"};
  hello.fingerprint.blocks.push_back({"ram", 1 << 20, 4096});
  std::uint8_t number = 0;
  for (auto _ : state) {
    // As a source of its own: the keys for further connections are this migration's.
    const auto over_the_way = [&] {
      std::this_thread::sleep_for(round_trip);
      return connect_to(address);
    };
    const auto connect = wrapped(over_the_way, way.connected());
    const wire::Secret secret{std::byte{++number}};
    const auto control = must(connect());
    must(wire::send_greeting(*control, {.role = wire::Role::kControl, .secret = secret}));
    const auto opened = must(open_lanes(connect, secret, lanes));
    must(wire::ControlConnection(*control).send(hello));
    auto place = must(broker.await_source(std::chrono::seconds(60)));
    const auto arrived = must(place.await_lanes(lanes, true));
    if (arrived.size() != lanes) die({ErrorKind::kIo, "lanes are missing"});
  }
}

}  // namespace

int main(int argc, char** argv) {
  const Pki pki;
  const std::vector<Way> ways{
      {"plain", [] { return Trust(NoTrust{}); }},
      {"certificates", [&pki] { return pki.trust(); }},
      {"shared_key", [] { return Trust(SharedKey{.identity = "bench", .key = KeyBytes(32, 7)}); }}};
  for (const Way& way : ways) {
    benchmark::RegisterBenchmark(("stream/" + way.name).c_str(), [&](benchmark::State& s) {
      stream(s, way);
    })->UseRealTime();
    benchmark::RegisterBenchmark(("open/" + way.name).c_str(), [&](benchmark::State& s) { open(s, way); })
        ->ArgsProduct({{1, 8, 32}, {0, 50}})
        ->UseRealTime()
        ->Unit(benchmark::kMillisecond);
  }
  godwit::bench::initialize_interleaved(argc, argv, 5);
  benchmark::RunSpecifiedBenchmarks();
}
