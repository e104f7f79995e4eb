// The governor on simulated links and cores, against every fixed codec and an oracle.
//
//   bench_governor            the corpus, and two tables: page throughput in Gbit/s; with idle cores
//   bench_governor --send NS  the same, if send() took so many nanoseconds a byte: loopback is not a network card
//   bench_governor --levels   the figures of src/engine/codec_levels.cpp, as measured on this machine
//
// What each level does to each block is measured on this machine, with real codecs on a corpus such as a busy guest's
// RAM; links and cores are simulated (lane_simulation.h). The oracle knows what each level would make of each block,
// and has the price that turns out the best. The bound is what nobody can exceed: the oracle with endless buffers, and
// two prices mixed so that neither cores nor link are left over (except for some 0.3 %, as the corpus is not sent whole
// times).
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <string_view>
#include <vector>

#include "corpus.h"
#include "engine/sweep_order.h"
#include "lane_simulation.h"
#include "measure.h"

namespace {

using namespace godwit;
using simulation::Block;
using simulation::Setting;

constexpr std::size_t kBlocks = 509;  // 127 MiB; a prime, so that each lane comes by all of them
constexpr std::array<double, 6> kLinks = {0.1, 1, 2.5, 10, 25, 100};
constexpr std::array<std::uint64_t, 3> kSeeds = {1, 2, 3};  // the governor's figure is their mean
constexpr CodecChoice kJudge = {CodecId::kZstd, 1};         // by what it saves, blocks are told apart

std::size_t judge() {
  return static_cast<std::size_t>(std::ranges::find(codec_levels(), kJudge) - codec_levels().begin());
}

double saved(const Block& block, std::size_t level) {
  return 1 - static_cast<double>(block.on[level].wire) / static_cast<double>(block.bytes);
}

/// Lane time and wire bytes, per byte of pages.
struct Spent {
  double lane_ns = 0;
  double wire = 0;
};

Spent spend_at(double price, const Setting& setting, std::span<const Block> corpus) {
  simulation::Oracle oracle(setting, price);
  Spent spent;
  double bytes = 0;
  for (const Block& block : corpus) {
    const auto& tried = block.on.at(oracle.choose(0, block));
    const auto wire = static_cast<double>(tried.wire);
    const auto size = static_cast<double>(block.bytes);
    spent.lane_ns += tried.ns + setting.send_ns_per_byte * wire + setting.read_ns_per_byte * size;
    spent.wire += wire;
    bytes += size;
  }
  return {spent.lane_ns / bytes, spent.wire / bytes};
}

/// Gbit/s of pages.
double oracle(const Setting& setting, std::span<const Block> corpus) {
  double most = 0;
  for (double price = 0.02; price < 2000; price *= 1.25) {
    simulation::Oracle knowing(setting, price);
    most = std::max(most, simulation::Simulation(setting, corpus, knowing).run().page_gbit);
  }
  return most;
}

double bound(const Setting& setting, std::span<const Block> corpus) {
  constexpr int kMixtures = 20;
  double most = 0;
  Spent below = spend_at(0, setting, corpus);
  for (double price = 0.001; price < 10'000; price *= 1.1) {
    const Spent at = spend_at(price, setting, corpus);
    for (int i = 0; i <= kMixtures; ++i) {
      const double share = static_cast<double>(i) / kMixtures;
      const double lane_ns = std::lerp(below.lane_ns, at.lane_ns, share);
      const double wire = std::lerp(below.wire, at.wire, share);
      most = std::max(most, std::min(8 * setting.cores / lane_ns, setting.link_gbit / wire));
    }
    below = at;
  }
  return most;
}

/// How well a lane's block tells of its next one: their sizes' correlation, in one sweep of the first lane.
double correlation(std::span<const Block> corpus, std::uint32_t lanes) {
  std::vector<double> off;
  double mean = 0;
  SweepOrder order(static_cast<std::uint32_t>(corpus.size()), 0, {lanes});
  while (const auto next = order.next(true)) off.push_back(saved(corpus[next->value], judge()));
  for (const double each : off) mean += each / static_cast<double>(off.size());
  for (double& each : off) each -= mean;
  const double square = std::inner_product(off.begin(), off.end(), off.begin(), 0.0);
  return std::inner_product(off.begin(), off.end() - 1, off.begin() + 1, 0.0) / square;
}

void print_corpus(std::span<const Block> corpus, double send, double copy) {
  const auto bytes = static_cast<double>(corpus.size() * bench::kBlock);
  fmt::print("| level | ratio | GB/s |\n|---|---|---|\n");
  for (std::size_t r = 1; r < kCodecLevels; ++r) {
    double wire = 0;
    double ns = 0;
    for (const Block& block : corpus) {
      wire += static_cast<double>(block.on[r].wire);
      ns += block.on[r].ns;
    }
    fmt::print("| {} | {:.2f} | {:.2f} |\n", format_codec(codec_levels()[r]), bytes / wire, bytes / ns);
  }
  fmt::print("\nA lane's block and its next one: r = {:.2f} with 1 lane, {:.2f} with 2, {:.2f} with 8.\n",
             correlation(corpus, 1), correlation(corpus, 2), correlation(corpus, 8));
  fmt::print("send() {:.3f} ns a byte, the copy into the lane's buffer {:.3f}.\n\n", send, copy);
}

void print_levels(std::span<const Block> corpus, const std::array<double, kCodecLevels>& ns_per_block) {
  const auto class_of = [](const Block& block) {
    const auto* const bound = std::ranges::lower_bound(kClassBounds, saved(block, judge()));
    return std::min(static_cast<std::size_t>(bound - kClassBounds.begin()), kContentClasses - 1);
  };
  std::array<double, kContentClasses> count{};
  for (const Block& block : corpus) ++count[class_of(block)];
  fmt::print("kClassShares:");
  for (const double c : count) fmt::print(" {:.2f}", c / static_cast<double>(corpus.size()));
  fmt::print("\nkClassEntropy:");
  for (std::size_t c = 0; c < kContentClasses; ++c) {
    double sum = 0;
    double squares = 0;
    for (const Block& block : corpus) {
      if (class_of(block) != c) continue;
      sum += block.entropy;
      squares += block.entropy * block.entropy;
    }
    const double mean = sum / std::max(count[c], 1.0);
    fmt::print(" {{{:.2f}, {:.2f}}},", mean, std::sqrt(std::max(0.0, squares / std::max(count[c], 1.0) - mean * mean)));
  }
  fmt::print("\nns per block; saved, ns per byte, of each class:\n");
  for (std::size_t r = 0; r < kCodecLevels; ++r) {
    std::array<LevelOnClass, kContentClasses> sum{};
    for (const Block& block : corpus) {
      sum[class_of(block)].saved += saved(block, r);
      sum[class_of(block)].ns_per_byte += block.on[r].ns / static_cast<double>(block.bytes);
    }
    fmt::print("{:.0f} ", ns_per_block[r]);
    for (std::size_t c = 0; c < kContentClasses; ++c) {
      const double n = std::max(count[c], 1.0);
      fmt::print("{{{:.2f}, {:.2f}}}, ", sum[c].saved / n, sum[c].ns_per_byte / n);
    }
    fmt::print(" // {}\n", format_codec(codec_levels()[r]));
  }
}

/// What a cell of the table holds of the governor, for the line below it.
struct Cell {
  double over_fixed = 0;
  double over_oracle = 0;
};

/// The governor's throughput and lane time, the means of all seeds.
simulation::Result governed(Setting setting, std::span<const Block> corpus) {
  simulation::Result mean;
  for (const std::uint64_t seed : kSeeds) {
    setting.seed = seed;
    simulation::Governed lanes(setting.lanes);
    const auto result = simulation::Simulation(setting, corpus, lanes).run();
    mean.page_gbit += result.page_gbit / kSeeds.size();
    mean.wire_share += result.wire_share / kSeeds.size();
    mean.lane_ns_per_byte += result.lane_ns_per_byte / kSeeds.size();
    mean.link_use += result.link_use / kSeeds.size();
  }
  return mean;
}

Cell print_cell(Setting setting, std::span<const Block> corpus) {
  fmt::print("| {} | {} |", setting.link_gbit, setting.cores);
  simulation::Result best;
  for (std::size_t r = 0; r < kCodecLevels; ++r) {
    simulation::Fixed fixed(r);
    const auto result = simulation::Simulation(setting, corpus, fixed).run();
    if (result.page_gbit > best.page_gbit) best = result;
    fmt::print(" {:.3g} |", result.page_gbit);
  }
  const auto got = governed(setting, corpus);
  const double knowing = oracle(setting, corpus);
  const Cell cell = {got.page_gbit / best.page_gbit, got.page_gbit / knowing};
  fmt::print(" **{:.3g}** | {:.3g} | {:.3g} | {:.2f} | {:.2f} | {:.2f} / {:.2f} |\n", got.page_gbit, knowing,
             bound(setting, corpus), cell.over_fixed, cell.over_oracle, got.lane_ns_per_byte, best.lane_ns_per_byte);
  return cell;
}

void print_table(std::span<const Block> corpus, double send, double copy) {
  fmt::print("| Gbit/s | cores |");
  for (const auto& choice : codec_levels()) fmt::print(" {} |", format_codec(choice));
  fmt::print(" governor | oracle | bound | / best fixed | / oracle | lane ns/byte, governor / best fixed |\n|");
  for (std::size_t column = 0; column < kCodecLevels + 8; ++column) fmt::print("---|");
  fmt::print("\n");
  Cell least = {1e9, 1e9};
  for (const double link : kLinks) {
    for (const unsigned cores : {1U, 2U, 8U}) {
      const Cell cell = print_cell(
          {.cores = cores, .lanes = cores, .link_gbit = link, .read_ns_per_byte = copy, .send_ns_per_byte = send},
          corpus);
      least = {std::min(least.over_fixed, cell.over_fixed), std::min(least.over_oracle, cell.over_oracle)};
    }
  }
  fmt::print("\nAt the least {:.3f} of the best fixed codec, and {:.3f} of the oracle.\n", least.over_fixed,
             least.over_oracle);
}

/// What threads beside the lanes make of cores that the lanes leave idle.
void print_idle_cores(std::span<const Block> corpus, double send, double copy) {
  fmt::print(
      "\n| Gbit/s | cores | lanes | lanes alone | wire share | with threads | wire share | link used | bound | / alone "
      "| / bound |\n|");
  for (int column = 0; column < 11; ++column) fmt::print("---|");
  fmt::print("\n");
  for (const double link : {2.5, 10.0, 25.0, 100.0}) {
    for (const auto& [cores, lanes] : {std::pair{8U, 2U}, {16U, 8U}}) {
      Setting setting{
          .cores = cores, .lanes = lanes, .link_gbit = link, .read_ns_per_byte = copy, .send_ns_per_byte = send};
      const auto alone = governed(setting, corpus);
      setting.encoding_threads = cores - lanes;
      const auto all = governed(setting, corpus);
      const double most = bound(setting, corpus);
      fmt::print("| {} | {} | {} | {:.3g} | {:.2f} | **{:.3g}** | {:.2f} | {:.2f} | {:.3g} | {:.2f} | {:.2f} |\n", link,
                 cores, lanes, alone.page_gbit, alone.wire_share, all.page_gbit, all.wire_share, all.link_use, most,
                 all.page_gbit / alone.page_gbit, all.page_gbit / most);
    }
  }
}

int complain(std::string_view text) {
  fmt::print(stderr, "{}\n", text);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view argument = argc > 1 ? argv[1] : "";
  const auto corpus = bench::make_corpus(kBlocks);
  if (corpus.empty()) return complain("/usr does not hold enough files for a sample");
  const auto blocks = bench::measure_levels(corpus);
  if (!blocks) return complain(blocks.error().message);
  const Result<double> send =
      argc > 2 && argument == "--send" ? std::strtod(argv[2], nullptr) : bench::measure_send_ns_per_byte(corpus);
  if (!send) return complain(send.error().message);
  const double copy = bench::measure_copy_ns_per_byte(corpus);

  print_corpus(*blocks, *send, copy);
  if (argument == "--levels") {
    const auto ns_per_block = bench::measure_ns_per_block(corpus, *blocks);
    if (!ns_per_block) return complain(ns_per_block.error().message);
    print_levels(*blocks, *ns_per_block);
  } else {
    print_table(*blocks, *send, copy);
    print_idle_cores(*blocks, *send, copy);
  }
  return 0;
}
