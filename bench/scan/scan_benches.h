// The groups of benchmarks of bench_scan.
#pragma once

namespace godwit::bench {

/// A whole tracker, on memory of which little is there (sparse_bench.cpp).
void add_sparse_benches();

}  // namespace godwit::bench
