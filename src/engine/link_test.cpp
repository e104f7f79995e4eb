#include "engine/link_test.h"

#include <array>
#include <chrono>
#include <mutex>
#include <optional>
#include <random>
#include <vector>

#include "base/cpu_account.h"
#include "wire/control.h"
#include "wire/little_endian.h"

namespace godwit {

namespace {

using Time = std::chrono::steady_clock::time_point;

constexpr std::size_t kMostTests = 64;
constexpr std::size_t kTestBlock = 256 * 1024;
// A connection begins slowly, and a link that is shaped lets a burst pass at first.
constexpr Duration kGetsUpToSpeed = std::chrono::milliseconds(300);
// Nobody measures for longer; a source that goes on is cut off.
constexpr Duration kLongestTest = std::chrono::seconds(30);
constexpr Duration kAnswerPatience = std::chrono::seconds(30);

/// What came after the beginning, and in which time.
struct Arrived {
  std::uint64_t bytes = 0;
  std::uint64_t nanoseconds = 0;
};

void count_arriving(Channel& channel) {
  std::vector<std::byte> room(kTestBlock);
  const Time begun = std::chrono::steady_clock::now();
  std::optional<Time> counting_since;
  Time last = begun;
  Arrived arrived;
  while (last - begun < kLongestTest) {
    const auto got = channel.read(room, 1, Deadline::in(kLongestTest));
    if (!got) break;  // the end of what was sent, or of the connection
    last = std::chrono::steady_clock::now();
    if (counting_since) arrived.bytes += *got;
    if (!counting_since && last - begun >= kGetsUpToSpeed) counting_since = last;
  }
  if (counting_since) arrived.nanoseconds = static_cast<std::uint64_t>((last - *counting_since).count());
  std::array<std::byte, 16> answer{};
  wire::put(answer.data(), arrived.bytes);
  wire::put(answer.data() + 8, arrived.nanoseconds);
  (void)send_bytes(channel, answer, Deadline::in(kAnswerPatience));
  (void)channel.shut_down();
}

Result<Arrived> send_for(Channel& channel, Duration length, const std::stop_token& cancelled) {
  std::vector<std::byte> block(kTestBlock);
  std::mt19937_64 random(1);  // a network that compresses would carry more of zeros
  for (std::size_t at = 0; at < block.size(); at += 8) wire::put(block.data() + at, std::uint64_t{random()});
  const auto refused = [] {
    return fail(ErrorKind::kRefused,
                "the destination does not measure the link: a VM comes to it just now, or it is of another version");
  };
  const Time end = std::chrono::steady_clock::now() + length;
  while (std::chrono::steady_clock::now() < end) {
    if (cancelled.stop_requested()) return fail(ErrorKind::kCancelled, "cancelled");
    if (!send_bytes(channel, block, Deadline::in(kAnswerPatience))) return refused();
  }
  TRY(channel.shut_down());
  std::array<std::byte, 16> answer{};
  if (!receive_bytes(channel, answer, kAnswerPatience)) return refused();
  return Arrived{wire::get<std::uint64_t>(answer.data()), wire::get<std::uint64_t>(answer.data() + 8)};
}

}  // namespace

LinkTests::~LinkTests() {
  for (Test& test : tests_) test.channel->abort();
}

bool LinkTests::take(std::unique_ptr<Channel>& channel) {
  std::erase_if(tests_, [](const Test& test) { return test.over.load(); });
  if (tests_.size() >= kMostTests) return false;
  Test& test = tests_.emplace_back();
  test.channel = std::move(channel);
  test.thread = job_thread([&test] {
    count_arriving(*test.channel);
    test.over = true;
  });
  return true;
}

Result<BitRate> measure_link(const std::function<Result<std::unique_ptr<Channel>>()>& connect, unsigned connections,
                             Duration length, const std::stop_token& cancelled) {
  const wire::Secret secret = TRY(wire::random_secret());
  std::vector<std::unique_ptr<Channel>> channels;
  for (unsigned i = 0; i < connections; ++i) {
    channels.push_back(TRY(connect()));
    TRY(wire::send_greeting(*channels.back(), {.role = wire::Role::kLinkTest, .secret = secret}));
  }
  std::mutex mutex;
  double bytes_per_second = 0;
  std::optional<Error> failed;
  {
    std::vector<std::jthread> threads;
    for (const auto& channel : channels) {
      threads.push_back(job_thread([&, each = channel.get()] {
        const auto arrived = send_for(*each, length, cancelled);
        const std::lock_guard lock(mutex);
        if (!arrived) {
          failed = arrived.error();
        } else if (arrived->nanoseconds > 0) {
          bytes_per_second += static_cast<double>(arrived->bytes) * 1e9 / static_cast<double>(arrived->nanoseconds);
        }
      }));
    }
  }
  if (failed) return fail(*std::move(failed));
  if (bytes_per_second <= 0) return fail(ErrorKind::kPeerLost, "nothing of what was sent to measure the link arrived");
  return BitRate{static_cast<std::uint64_t>(bytes_per_second * 8)};
}

}  // namespace godwit
