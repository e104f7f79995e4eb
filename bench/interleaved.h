// How the benchmarks of single functions run: all contenders take turns, in random order, again and again, and only
// medians and spread are shown.
#pragma once

#include <benchmark/benchmark.h>

#include <string>
#include <vector>

namespace godwit::bench {

/// In the place of benchmark::Initialize. What the command line says comes last, so it wins. `min_time`: seconds of
/// each repetition.
inline void initialize_interleaved(int argc, char** argv, int repetitions = 7, const std::string& min_time = "0.05") {
  std::vector<std::string> words = {"--benchmark_enable_random_interleaving=true",
                                    "--benchmark_repetitions=" + std::to_string(repetitions),
                                    "--benchmark_min_time=" + min_time, "--benchmark_report_aggregates_only=true"};
  words.insert(words.end(), argv + 1, argv + argc);
  std::vector<char*> arguments{argv[0]};  // the library keeps this one
  for (auto& word : words) arguments.push_back(word.data());
  int count = static_cast<int>(arguments.size());
  benchmark::Initialize(&count, arguments.data());
}

}  // namespace godwit::bench
