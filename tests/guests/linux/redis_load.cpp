// See redis_load.h.
#include "redis_load.h"

#include <spawn.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <thread>

#include "records.h"
#include "system.h"

namespace godwit::guest {
namespace {

using namespace std::chrono_literals;

constexpr const char* kServer = "/bin/redis-server";
constexpr const char* kSocket = "/redis.sock";

// The guest has few descriptors for a process, and one client.
constexpr const char* kClients = "16";

constexpr auto kTick = 10ms;  // short enough to spread the SETs, long enough to cost nothing

// After a pause the load does not catch up: a burst would be a load that nobody asked for.
constexpr double kLongestTickSeconds = 0.1;

// Commands sent together: enough to hide the round trip, and answers to so many GETs fit a socket's buffer.
constexpr std::uint32_t kBatch = 64;

// verify() lets go of the lock for this long where the load waits for it, or the load might never get it.
constexpr auto kVerifyPause = 200us;

constexpr int kConnectTries = 200;
constexpr auto kConnectTryEvery = 50ms;

constexpr std::uint64_t kErrorsPrinted = 20;

bool start_server() {
  const char* arguments[] = {kServer,   "--port",       "0",  "--unixsocket", kSocket,  "--save",
                             "",        "--appendonly", "no", "--maxclients", kClients, "--loglevel",
                             "warning", "--dir",        "/",  nullptr};
  char* environment[] = {nullptr};
  pid_t pid = 0;
  return ::posix_spawn(&pid, kServer, nullptr, nullptr, const_cast<char**>(arguments), environment) == 0;
}

}  // namespace

bool RedisLoad::start(std::uint32_t keys) {
  if (!start_server() || !wait_for_file(kSocket)) {
    std::printf("GODWIT-GUEST redis-server does not start\n");
    return false;
  }
  for (int i = 0; i < kConnectTries && !client_.connect(kSocket); ++i) std::this_thread::sleep_for(kConnectTryEvery);
  const std::lock_guard lock(mutex_);
  versions_.assign(keys, 0);
  std::vector<std::uint32_t> batch;
  for (std::uint32_t key = 0; key < keys; ++key) {
    batch.push_back(key);
    if (batch.size() == kBatch || key + 1 == keys) {
      set(batch);
      batch.clear();
    }
  }
  return refused_ == 0;
}

void RedisLoad::run() {
  auto last = std::chrono::steady_clock::now();
  double owed = 0;
  std::vector<std::uint32_t> batch;
  for (;;) {
    std::this_thread::sleep_for(kTick);
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::min(std::chrono::duration<double>(now - last).count(), kLongestTickSeconds);
    last = now;
    for (owed += static_cast<double>(rate_.load()) * seconds; owed >= 1; owed -= static_cast<double>(batch.size())) {
      wants_lock_ = true;
      const std::lock_guard lock(mutex_);
      wants_lock_ = false;
      batch.resize(std::min<std::size_t>(kBatch, static_cast<std::size_t>(owed)));
      std::generate(batch.begin(), batch.end(),
                    [this] { return static_cast<std::uint32_t>(random_.below(versions_.size())); });
      set(batch);
    }
  }
}

void RedisLoad::set(const std::vector<std::uint32_t>& keys) {
  for (const std::uint32_t key : keys) {
    write_key(key_, key);
    write_record(record_, key, ++versions_[key]);
    client_.queue({"SET", key_, record_});
  }
  client_.send();
  for (const std::uint32_t key : keys) {
    if (client_.answer() == "OK") {
      ++writes_;
    } else if (++refused_ <= kErrorsPrinted) {
      std::fprintf(stderr, "GODWIT-GUEST ERROR: redis did not confirm the SET of key %u\n", key);
    }
  }
}

std::uint64_t RedisLoad::verify() {
  std::uint64_t wrong = 0;
  const auto keys = static_cast<std::uint32_t>(versions_.size());
  for (std::uint32_t begin = 0; begin < keys; begin += kBatch) {
    // Not after each batch: on a busy host a guest that sleeps wakes up late, and a pass would take minutes.
    if (wants_lock_) std::this_thread::sleep_for(kVerifyPause);
    const std::lock_guard lock(mutex_);
    wrong += verify_some(begin, std::min(keys, begin + kBatch));
  }
  const std::lock_guard lock(mutex_);
  return wrong + verify_count();
}

std::uint64_t RedisLoad::verify_some(std::uint32_t begin, std::uint32_t end) {
  for (std::uint32_t key = begin; key < end; ++key) {
    write_key(key_, key);
    client_.queue({"GET", key_});
  }
  client_.send();
  std::uint64_t wrong = 0;
  for (std::uint32_t key = begin; key < end; ++key) {
    write_record(record_, key, versions_[key]);
    if (client_.answer() != std::string_view(record_) && ++wrong <= kErrorsPrinted) {
      std::fprintf(stderr, "GODWIT-GUEST ERROR: redis' key %u is not as it was set\n", key);
    }
  }
  return wrong;
}

std::uint64_t RedisLoad::verify_count() {
  client_.queue({"DBSIZE"});
  client_.send();
  if (client_.answer() == std::to_string(versions_.size())) return 0;
  std::fprintf(stderr, "GODWIT-GUEST ERROR: redis does not hold as many keys as were set\n");
  return 1;
}

}  // namespace godwit::guest
