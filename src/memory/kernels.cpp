// Which kernels a host can run, and which of them to take.
#include "memory/kernels.h"

#include <fmt/core.h>

#include <array>

#include "memory/kernel_tables.h"

namespace godwit {

namespace {
constexpr std::array<const Kernels*, 3> kAll = {&kPlainKernels, &kAvx2Kernels, &kAvx512Kernels};
constexpr std::array<const Kernels*, 2> kWithoutAvx2 = {&kPlainKernels, &kAvx512Kernels};
}  // namespace

std::span<const Kernels* const> kernels_for(const HostProfile& host) {
  if (host.avx512 && !host.avx2) return kWithoutAvx2;
  return std::span(kAll).first(host.avx512 ? 3 : host.avx2 ? 2 : 1);
}

const Kernels& best_kernels(const HostProfile& host) {
  return *kernels_for(host).back();
}

Result<const Kernels*> kernels_by_name(std::string_view name, const HostProfile& host) {
  for (const Kernels* const kernels : kernels_for(host)) {
    if (kernels->name == name) return kernels;
  }
  std::string names;
  for (const Kernels* const kernels : kAll) {
    if (kernels->name == name) {
      return fail(ErrorKind::kUnsupported, fmt::format("this host cannot run the {} kernels", name));
    }
    names += fmt::format("{}{}", names.empty() ? "" : ", ", kernels->name);
  }
  return fail(ErrorKind::kInvalidArgument, fmt::format("no kernels are called \"{}\"; there are {}", name, names));
}

}  // namespace godwit
