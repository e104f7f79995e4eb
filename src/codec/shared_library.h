// A library that is loaded when it is asked for, and never unloaded: it may have threads of its own.
#pragma once

#include <span>
#include <string>
#include <utility>

#include "base/result.h"

namespace godwit {

class SharedLibrary {
 public:
  /// `path`: this file, or the first of `names` that the system finds. kNotFound says what was looked for.
  static Result<SharedLibrary> load(const std::string& path, std::span<const char* const> names);

  /// Null if the library has none of that name.
  void* find(const char* symbol) const noexcept;
  /// Sets `call`; kUnsupported names what is missing.
  template <typename Call>
  Status bind(const char* symbol, Call*& call) const {
    call = reinterpret_cast<Call*>(find(symbol));
    return call != nullptr ? Status{} : lacks(symbol);
  }
  /// Of several, each behind its name: the first that is missing.
  template <typename Call, typename... More>
  Status bind(const char* symbol, Call*& call, More&&... more) const {
    Status bound = bind(symbol, call);
    return bound ? bind(std::forward<More>(more)...) : bound;
  }
  const std::string& name() const noexcept { return name_; }
  /// What a library that stands for a device says of itself (tests/standins); empty: it is none of those.
  std::string model() const;

 private:
  SharedLibrary(void* handle, std::string name) : handle_(handle), name_(std::move(name)) {}
  Status lacks(const char* symbol) const;

  void* handle_;
  std::string name_;
};

}  // namespace godwit
