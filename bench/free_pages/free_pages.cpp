// What it costs to find a Linux guest's free pages from outside: locating its books, one look at them, and the second
// look during the pause; with the RAM mapped, and with the RAM copied as another process's private memory is.
//
//   bench_free_pages QMP_SOCKET [ROUNDS]      of a QEMU that runs a Linux guest
//
// Both ways are interleaved in one run. At the end the guest is stopped for an instant and all answers are compared.
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "linux_guest/linux_free_pages.h"
#include "service/wiring.h"
#include "vmm/qemu/qemu_vm.h"
#include "vmm/qemu/vcpu_registers.h"

namespace {

using namespace godwit;

[[noreturn]] void give_up(const std::string& why) {
  fmt::print(stderr, "{}\n", why);
  std::exit(1);
}

template <typename T>
T need(Result<T>&& result) {
  if (!result) give_up(result.error().message);
  return std::move(*result);
}
void must(const Status& status) {
  if (!status) give_up(status.error().message);
}

/// RAM that cannot be mapped.
class Copied final : public GuestMemory {
 public:
  explicit Copied(GuestMemory& memory) : memory_(memory) {}
  const RamLayout& layout() const noexcept override { return memory_.layout(); }
  Status read(ChunkIndex chunk, PageWord pages, MutableBytes out) const override {
    return memory_.read(chunk, pages, out);
  }
  Status write(ChunkIndex, PageWord, Bytes) override { return fail(ErrorKind::kUnsupported, "read only"); }
  Status fill(ChunkIndex, PageWord, Bytes) override { return fail(ErrorKind::kUnsupported, "read only"); }
  std::optional<MutableBytes> map(ChunkIndex) noexcept override { return std::nullopt; }
  Status discard(ChunkIndex, PageWord) override { return fail(ErrorKind::kUnsupported, "read only"); }
  Status populate(ChunkIndex, PageWord) override { return fail(ErrorKind::kUnsupported, "read only"); }
  Status find_data(ChunkIndex first, std::span<PageWord> out) const override { return memory_.find_data(first, out); }
  Status keep_holes(ChunkIndex first, std::span<PageWord> pages) const override {
    return memory_.keep_holes(first, pages);
  }

 private:
  GuestMemory& memory_;
};

std::uint64_t count(const std::vector<PageWord>& words) {
  std::uint64_t pages = 0;
  for (const PageWord word : words) pages += page_count(word);
  return pages;
}

/// Milliseconds by what took them.
class Times {
 public:
  template <typename Work>
  void measure(const std::string& name, Work&& work) {
    const auto begin = std::chrono::steady_clock::now();
    work();
    of_[name].push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count());
  }
  void print(double gib) {
    fmt::print("{:28} {:>10} {:>10} {:>10} {:>12}\n", "ms", "median", "least", "most", "median/GiB");
    for (auto& [name, times] : of_) {
      std::ranges::sort(times);
      const double median = times[times.size() / 2];
      fmt::print("{:28} {:10.2f} {:10.2f} {:10.2f} {:12.2f}\n", name, median, times.front(), times.back(),
                 median / gib);
    }
  }

 private:
  std::map<std::string, std::vector<double>> of_;
};

}  // namespace

int main(int count_of_words, char** words) {
  if (count_of_words < 2) {
    fmt::print("bench_free_pages QMP_SOCKET [ROUNDS]: needs a QEMU that runs a Linux guest\n");
    return 0;
  }
  const int rounds = count_of_words > 2 ? std::max(1, std::atoi(words[2])) : 15;
  const SteadyClock clock;
  qemu::QemuVm vm = need(qemu::attach(words[1], 0, clock));
  vm.memory = need(qemu::open_memory(*vm.process, vm.inspection.blocks));
  Copied copied(*vm.memory);
  Times times;
  const auto roots = [&] {
    Result<std::vector<std::uint64_t>> answer;
    times.measure("vCPU registers (in find)", [&] { answer = qemu::page_table_roots(*vm.qmp); });
    return answer;
  };
  std::map<std::string, std::unique_ptr<FreePages>> ways;
  const bool can_map = vm.memory->map(ChunkIndex{0}).has_value();
  if (can_map) ways["mapped"] = make_linux_free_pages(*vm.memory, physical_ranges(vm.inspection), roots);
  ways["copied"] = make_linux_free_pages(copied, physical_ranges(vm.inspection), roots);

  const std::size_t chunks = vm.memory->layout().chunk_count();
  std::map<std::string, std::vector<PageWord>> found, kept;
  for (int round = 0; round < rounds; ++round) {
    for (auto& [name, way] : ways) {
      found[name].assign(chunks, kAllPages);
      times.measure("locate, " + name, [&] { must(way->locate({}, [] {})); });
      times.measure("find, " + name, [&] { must(way->find(found[name])); });
      auto needed = found[name];
      times.measure("keep_needed, " + name, [&] { must(way->keep_needed(ChunkIndex{0}, needed)); });
    }
  }
  (void)need(vm.qmp->execute("stop"));
  for (auto& [name, way] : ways) {
    found[name].assign(chunks, kAllPages);
    must(way->find(found[name]));
  }
  for (int round = 0; round < rounds; ++round) {
    for (auto& [name, way] : ways) {
      kept[name] = found[name];
      times.measure("keep_free, " + name, [&] { way->keep_free(kept[name]); });
      std::vector<PageWord> all(chunks);
      for (std::uint32_t chunk = 0; chunk < chunks; ++chunk) all[chunk] = vm.memory->layout().valid_pages({chunk});
      times.measure("keep_free of all, " + name, [&] { way->keep_free(all); });
    }
  }
  (void)need(vm.qmp->execute("cont"));
  for (auto& [name, way] : ways) {
    if (found[name] != found["copied"] || kept[name] != found["copied"]) give_up(name + ": another answer");
  }
  const double gib = static_cast<double>(vm.memory->layout().bytes()) / (1 << 30);
  fmt::print("{:.1f} GiB, {} pages found free\n", gib, count(found["copied"]));
  times.print(gib);
  return 0;
}
