// What an accelerator saves a lane, and what each way of using it is worth: bench_accelerator qat|iaa.
//
// One thread is the lane. It has the same chunks encoded by software and by the device that GODWIT_QATZIP or GODWIT_QPL
// names, whole chunks and single pages to a request, one request at a time and many, read where they are, copied first,
// and as guest RAM that may change; and it sends what comes back on a link that is a clock. Printed: the lane's CPU
// time, that of the threads that wait for the device, and how much of the time the link had nothing to send although
// chunks were waiting.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <string_view>
#include <vector>

#include "base/cpu_account.h"
#include "codec/accelerated_encoders.h"
#include "codec/encoder_provider.h"
#include "tests/codec/blocks.h"

namespace godwit {
namespace {

using testing::Buffer;
using Wall = std::chrono::steady_clock;

constexpr std::size_t kChunkBytes = 256 * 1024;
constexpr std::size_t kChunks = 128;
constexpr int kRounds = 8;
// What a connection holds before send() waits.
constexpr double kLinkQueue = 4 << 20;

struct Way {
  const char* name;
  bool device;
  std::size_t request = kChunkBytes;
  std::size_t at_once = 16;
  bool copies_first = false;
  bool in_place = false;             ///< as guest RAM, which might change
  double link_bytes_per_second = 0;  ///< 0: as fast as they come
};

struct Cost {
  double gibibytes = 0;
  double lane_ms = 0;
  double waiting_ms = 0;
  double seconds = 0;
  double link_idle = 0;
  double ratio = 0;
  double by_device = 0;
};

std::vector<Buffer> chunks() {
  std::vector<Buffer> all;
  for (std::size_t i = 0; i < kChunks; ++i) {
    all.push_back(i % 3 == 0 ? testing::text(kChunkBytes, i) : testing::mixed(kChunkBytes, i));
  }
  return all;
}

double seconds_of(Duration d) {
  return std::chrono::duration<double>(d).count();
}

/// A link that takes so many bytes a second: in which moments it has had nothing to send.
class ClockedLink {
 public:
  explicit ClockedLink(double rate) : rate_(rate) {}
  void send(std::size_t bytes) {
    const auto now = Wall::now();
    if (rate_ == 0) return;
    if (free_at_ == Wall::time_point{}) free_at_ = now;
    if (now > free_at_) idle_ += seconds_of(now - free_at_);
    free_at_ = std::max(free_at_, now) +
               std::chrono::duration_cast<Wall::duration>(std::chrono::duration<double>(double(bytes) / rate_));
    const auto room = std::chrono::duration_cast<Wall::duration>(std::chrono::duration<double>(kLinkQueue / rate_));
    std::this_thread::sleep_until(free_at_ - room);
  }
  double idle() const { return idle_; }

 private:
  double rate_;
  Wall::time_point free_at_{};
  double idle_ = 0;
};

Cost run(Encoder& encoder, const Way& way, const std::vector<Buffer>& blocks, int rounds) {
  struct Item {
    Buffer input;
    Buffer output;
    std::size_t length = 0;
    std::size_t size = 0;
    bool ready = false;
  };
  const std::size_t places = std::min(way.at_once, encoder.depth());
  std::vector<Item> items(places);
  for (Item& item : items) {
    item.input.resize(way.request);
    item.output.resize(way.request);
  }
  std::deque<std::size_t> order;
  std::vector<std::size_t> spare;
  for (std::size_t i = 0; i < places; ++i) spare.push_back(i);
  std::vector<EncodeDone> done(16);
  ClockedLink link(way.link_bytes_per_second);
  Cost cost;
  std::size_t before = 0;
  std::size_t after = 0;
  const auto hear = [&](std::size_t heard) {
    for (const EncodeDone& one : std::span(done).first(heard)) {
      Item& item = items[one.ticket];
      item.size = one.size == 0 ? item.length : one.size;
      item.ready = true;
      cost.waiting_ms += seconds_of(one.worked) * 1e3;
    }
    while (!order.empty() && items[order.front()].ready) {
      Item& item = items[order.front()];
      before += item.length;
      after += item.size;
      link.send(item.size);
      item.ready = false;
      spare.push_back(order.front());
      order.pop_front();
    }
  };
  const auto wall = Wall::now();
  const Duration cpu = thread_cpu_time();
  for (int round = 0; round < rounds; ++round) {
    for (const Buffer& block : blocks) {
      for (std::size_t at = 0; at < block.size(); at += way.request) {
        while (spare.empty()) hear(encoder.collect(done, {}).value());
        const std::size_t place = spare.back();
        spare.pop_back();
        Item& item = items[place];
        item.length = way.request;
        Bytes input(block.data() + at, way.request);
        if (way.copies_first) {
          std::memcpy(item.input.data(), input.data(), input.size());
          input = item.input;
        }
        const EncodeJob job{.ticket = place, .input = input, .output = item.output, .changes = way.in_place};
        while (encoder.submit({&job, 1}).value() == 0) hear(encoder.collect(done, {}).value());
        order.push_back(place);
        hear(encoder.poll(done).value());
      }
    }
  }
  while (!order.empty()) hear(encoder.collect(done, {}).value());
  cost.lane_ms = seconds_of(thread_cpu_time() - cpu) * 1e3;
  cost.seconds = seconds_of(Wall::now() - wall);
  cost.gibibytes = static_cast<double>(before) / (1 << 30);
  cost.ratio = static_cast<double>(before) / static_cast<double>(after);
  cost.link_idle = link.idle() / cost.seconds;
  return cost;
}

int run_all(CodecDevice device) {
  auto opened = open_accelerator(device, {});
  if (!opened) {
    fmt::print(stderr, "{}\n", opened.error().message);
    return 1;
  }
  fmt::print("# {}\n", (*opened)->facts().text());
  const bool model = !(*opened)->facts().model.empty();
  if (model) fmt::print("# A MODEL: its figures are settings, not a device's.\n");
  SoftwareEncoders software;
  const std::vector<Buffer> blocks = chunks();
  AcceleratedEncoders accelerated(std::move(*opened), software, {});
  const Way ways[] = {
      {"software deflate:1", false},
      {"device, chunks, 16 at once", true},
      {"device, chunks, one at a time", true, kChunkBytes, 1},
      {"device, pages, 16 at once", true, 4096},
      {"device, pages, one at a time", true, 4096, 1},
      {"device, chunks, copied first", true, kChunkBytes, 16, true},
      {"device, chunks, read in guest RAM", true, kChunkBytes, 16, false, true},
      {"software, 10 Gbit/s", false, kChunkBytes, 16, false, false, 1.25e9},
      {"device, chunks, 10 Gbit/s", true, kChunkBytes, 16, false, false, 1.25e9},
  };
  fmt::print("{:<40} {:>14} {:>17} {:>8} {:>7} {:>11} {:>10}\n", "", "lane ms/GiB", "waiting ms/GiB", "GB/s", "ratio",
             "link idle", "by device");
  for (const Way& way : ways) {
    const CodecChoice choice{.id = CodecId::kDeflate, .level = 1};
    auto encoder = way.device ? accelerated.lend(choice, 0).value() : software.lend(choice, 0).value();
    (void)run(*encoder, way, blocks, 1);
    const std::uint64_t before = accelerated.use().blocks;
    const int rounds = way.device && way.request == kChunkBytes ? kRounds : 2;
    const Cost cost = run(*encoder, way, blocks, rounds);
    const double requests = static_cast<double>(kChunks * (kChunkBytes / way.request)) * rounds;
    fmt::print("{:<40} {:>14.0f} {:>17.0f} {:>8.2f} {:>7.2f} {:>10.1f}% {:>9.0f}%\n",
               fmt::format("{}{}", way.name, way.device && model ? " (MODEL)" : ""), cost.lane_ms / cost.gibibytes,
               cost.waiting_ms / cost.gibibytes, cost.gibibytes * 1.0737 / cost.seconds, cost.ratio,
               cost.link_idle * 100, 100 * static_cast<double>(accelerated.use().blocks - before) / requests);
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace godwit

int main(int argc, char** argv) {
  const std::string_view name = argc == 2 ? argv[1] : "";
  if (name == "qat") return godwit::run_all(godwit::CodecDevice::kQat);
  if (name == "iaa") return godwit::run_all(godwit::CodecDevice::kIaa);
  std::fprintf(stderr, "usage: bench_accelerator qat|iaa, with GODWIT_QATZIP or GODWIT_QPL\n");
  return 2;
}
