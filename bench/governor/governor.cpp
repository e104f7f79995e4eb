// The governor on simulated links and cores, against every fixed codec and an oracle.
//
//   bench_governor            the table
//   bench_governor --ladder   what src/engine/ladder.cpp holds, as measured on this machine
//
// What each rung does to each block is measured on this machine, with real codecs on a corpus such as a busy guest's
// RAM; links and cores are simulated (lane_simulation.h). The oracle knows what each rung would make of each block, and
// keeps to the price that turns out the best.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "corpus.h"
#include "lane_simulation.h"
#include "measure.h"

namespace {

using namespace godwit;
using simulation::Block;
using simulation::Setting;

constexpr std::size_t kBlocks = 509;  // 127 MiB; a prime, so that a lane comes by all of them
constexpr std::size_t kJudge = 5;     // zstd:1, by which blocks are told apart
constexpr std::array<double, 6> kLinks = {0.1, 1, 2.5, 10, 25, 100};

simulation::Result run(const Setting& setting, std::span<const Block> corpus, simulation::Chooser& chooser) {
  return simulation::Simulation(setting, corpus, chooser).run();
}

std::size_t class_of(const Block& block) {
  const double saved = 1 - static_cast<double>(block.on[kJudge].wire) / static_cast<double>(block.bytes);
  return static_cast<std::size_t>(std::ranges::lower_bound(kClassBounds, saved) - kClassBounds.begin());
}

void print_corpus(std::span<const Block> corpus) {
  fmt::print("| rung | ratio | GB/s |\n|---|---|---|\n");
  for (std::size_t r = 0; r < kRungs; ++r) {
    double wire = 0;
    double ns = 0;
    for (const Block& b : corpus) wire += static_cast<double>(b.on[r].wire), ns += b.on[r].ns;
    const double bytes = static_cast<double>(corpus.size() * bench::kBlock);
    fmt::print("| {} | {:.2f} | {:.2f} |\n", format_codec(governor_ladder()[r]), bytes / wire, ns > 0 ? bytes / ns : 0);
  }
  // How well does a lane's last block predict the next?
  for (const std::size_t lanes : {1, 2, 8}) {
    double mean = 0, square = 0, product = 0;
    for (const Block& b : corpus) mean += static_cast<double>(b.on[kJudge].wire) / static_cast<double>(corpus.size());
    for (std::size_t i = 0; i < corpus.size(); ++i) {
      const double a = static_cast<double>(corpus[i].on[kJudge].wire) - mean;
      square += a * a;
      product += a * (static_cast<double>(corpus[(i + lanes) % corpus.size()].on[kJudge].wire) - mean);
    }
    fmt::print("{} lanes: r = {:.2f}\n", lanes, product / square);
  }
}

void print_ladder(std::span<const Block> corpus) {
  std::array<double, kContentClasses> count{};
  for (const Block& b : corpus) ++count[class_of(b)];
  fmt::print("shares:");
  for (const double c : count) fmt::print(" {:.2f},", c / static_cast<double>(corpus.size()));
  fmt::print("\n");
  for (std::size_t r = 0; r < kRungs; ++r) {
    fmt::print("{{{{");
    for (std::size_t c = 0; c < kContentClasses; ++c) {
      double saved = 0, ns = 0;
      for (const Block& b : corpus) {
        if (class_of(b) != c) continue;
        saved += 1 - static_cast<double>(b.on[r].wire) / static_cast<double>(b.bytes);
        ns += b.on[r].ns / static_cast<double>(b.bytes);
      }
      fmt::print("{{{:.3f}, {:.2f}}}, ", saved / std::max(count[c], 1.0), ns / std::max(count[c], 1.0));
    }
    fmt::print("}}}}  // {}\n", format_codec(governor_ladder()[r]));
  }
}

}  // namespace

int main(int argc, char** argv) {
  const auto corpus = bench::make_corpus(kBlocks);
  if (corpus.empty()) {
    fmt::print(stderr, "/usr does not hold enough files for a sample\n");
    return 1;
  }
  const auto blocks = bench::measure_ladder(corpus);
  if (!blocks) {
    fmt::print(stderr, "{}\n", blocks.error().message);
    return 1;
  }
  const auto send = bench::measure_send_ns_per_byte(corpus);
  if (!send) {
    fmt::print(stderr, "{}\n", send.error().message);
    return 1;
  }
  const double copy = bench::measure_copy_ns_per_byte(corpus);
  print_corpus(*blocks);
  fmt::print("send {:.3f} ns/byte, copy {:.3f} ns/byte\n", *send, copy);
  if (argc > 1 && std::string_view(argv[1]) == "--ladder") {
    print_ladder(*blocks);
    return 0;
  }

  fmt::print("\n| Gbit/s | cores |");
  for (const auto& choice : governor_ladder()) fmt::print(" {} |", format_codec(choice));
  fmt::print(" governor | oracle | gov/fixed | gov/oracle | ns/B gov | ns/B best | price |\n");
  for (const double link : kLinks) {
    for (const unsigned cores : {1U, 2U, 8U}) {
      Setting setting{
          .cores = cores, .lanes = cores, .link_gbit = link, .read_ns_per_byte = copy, .send_ns_per_byte = *send};
      fmt::print("| {} | {} |", link, cores);
      simulation::Result best;
      for (std::size_t r = 0; r < kRungs; ++r) {
        simulation::Fixed fixed(r);
        const auto result = run(setting, *blocks, fixed);
        if (result.page_gbit > best.page_gbit) best = result;
        fmt::print(" {:.3g} |", result.page_gbit);
      }
      simulation::Governed governed(setting.lanes);
      const auto result = run(setting, *blocks, governed);
      double oracle = 0;
      for (double price = 0.01; price < 1000; price *= 1.2) {
        simulation::Oracle knowing(price);
        oracle = std::max(oracle, run(setting, *blocks, knowing).page_gbit);
      }
      fmt::print(" {:.3g} | {:.3g} | {:.3f} | {:.3f} | {:.2f} | {:.2f} | {:.2f}\n", result.page_gbit, oracle,
                 result.page_gbit / best.page_gbit, result.page_gbit / oracle, result.cpu_ns_per_byte,
                 best.cpu_ns_per_byte, governed.of(0).price());
    }
  }
  return 0;
}
