#include "codec/shared_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace godwit {

namespace {

std::string why_not_loaded() {
  const char* const text = ::dlerror();
  return text != nullptr ? text : "unknown error";
}

}  // namespace

Result<SharedLibrary> SharedLibrary::load(const std::string& path, std::span<const char* const> names) {
  if (!path.empty()) {
    if (void* const handle = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL)) return SharedLibrary(handle, path);
    return fail(ErrorKind::kNotFound, fmt::format("the library cannot be loaded: {}", why_not_loaded()));
  }
  for (const char* const name : names) {
    if (void* const handle = ::dlopen(name, RTLD_NOW | RTLD_LOCAL)) return SharedLibrary(handle, name);
  }
  return fail(ErrorKind::kNotFound, fmt::format("the library is not installed: {}", why_not_loaded()));
}

void* SharedLibrary::find(const char* symbol) const noexcept {
  return ::dlsym(handle_, symbol);
}

Status SharedLibrary::lacks(const char* symbol) const {
  return fail(ErrorKind::kUnsupported, fmt::format("{} is too old or another library: it has no {}", name_, symbol));
}

std::string SharedLibrary::model() const {
  const auto* const text = static_cast<const char*>(find("godwit_accelerator_model"));
  return text != nullptr ? text : "";
}

}  // namespace godwit
