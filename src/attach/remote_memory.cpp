#include "attach/remote_memory.h"

#include <fmt/format.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace godwit {
namespace {

constexpr std::array<unsigned char, 3> kSystemCallAndReturn = {0x0f, 0x05, 0xc3};
// Both encodings of `mov $15, %rax` that C libraries use, and `syscall`.
constexpr std::array<unsigned char, 9> kLongRestorer = {0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0, 0x0f, 0x05};
constexpr std::array<unsigned char, 7> kShortRestorer = {0xb8, 0x0f, 0, 0, 0, 0x0f, 0x05};
constexpr std::size_t kLongest = kLongRestorer.size();

constexpr std::size_t kPieceBytes = std::size_t{256} << 10;      // stays in L2
constexpr std::size_t kMaxSearchBytes = std::size_t{512} << 20;  // all the code of any program

/// Where `wanted` begins in `bytes`, or npos.
template <std::size_t kSize>
std::size_t find_in(Bytes bytes, const std::array<unsigned char, kSize>& wanted) {
  const void* found = ::memmem(bytes.data(), bytes.size(), wanted.data(), wanted.size());
  if (found == nullptr) return std::string::npos;
  return static_cast<std::size_t>(static_cast<const std::byte*>(found) - bytes.data());
}

void look_for_code(Bytes bytes, std::uint64_t address, CallCode& code) {
  if (code.system_call == 0) {
    const auto at = find_in(bytes, kSystemCallAndReturn);
    if (at != std::string::npos) code.system_call = address + at;
  }
  if (code.restorer == 0) {
    const auto long_at = find_in(bytes, kLongRestorer);
    const auto short_at = find_in(bytes, kShortRestorer);
    const auto at = std::min(long_at, short_at);
    if (at != std::string::npos) {
      code.restorer = address + at;
      code.restorer_end = code.restorer + (at == long_at ? kLongRestorer.size() : kShortRestorer.size());
    }
  }
}

bool is_c_library(const Mapping& mapping) {
  const auto slash = mapping.path.rfind('/');
  const std::string_view name = std::string_view(mapping.path).substr(slash == std::string::npos ? 0 : slash + 1);
  return name.starts_with("libc.") || name.starts_with("libc-") || name.starts_with("ld-musl");
}

/// Code that stays as it is: from a file and not writable (a just-in-time compiler's is neither).
bool is_steady_code(const Mapping& mapping) {
  return mapping.readable && mapping.executable && !mapping.writable && !mapping.shared &&
         (mapping.inode != 0 || mapping.path == "[vdso]");
}

template <std::size_t kSize>
bool holds(const RemoteProcess& process, std::uint64_t address, const std::array<unsigned char, kSize>& wanted) {
  std::array<unsigned char, kSize> there{};
  return read_remote(process, address, std::as_writable_bytes(std::span(there))) && there == wanted;
}

}  // namespace

Status read_remote(const RemoteProcess& process, std::uint64_t address, MutableBytes out) {
  const iovec ours{out.data(), out.size()};
  const iovec theirs{reinterpret_cast<void*>(address), out.size()};
  const ssize_t got = ::process_vm_readv(process.pid(), &ours, 1, &theirs, 1, 0);
  if (got < 0) return fail_os(fmt::format("read {} bytes at {:#x} of process {}", out.size(), address, process.pid()));
  if (static_cast<std::size_t>(got) != out.size()) {
    return fail(ErrorKind::kIo, fmt::format("process {} has no memory past {:#x}", process.pid(), address + got));
  }
  return {};
}

Status write_remote(const RemoteProcess& process, std::uint64_t address, Bytes bytes) {
  const iovec ours{const_cast<std::byte*>(bytes.data()), bytes.size()};
  const iovec theirs{reinterpret_cast<void*>(address), bytes.size()};
  const ssize_t put = ::process_vm_writev(process.pid(), &ours, 1, &theirs, 1, 0);
  if (put < 0)
    return fail_os(fmt::format("write {} bytes at {:#x} of process {}", bytes.size(), address, process.pid()));
  if (static_cast<std::size_t>(put) != bytes.size()) {
    return fail(ErrorKind::kIo, fmt::format("process {} cannot write past {:#x}", process.pid(), address + put));
  }
  return {};
}

Result<CallCode> find_call_code(const RemoteProcess& process, const std::vector<Mapping>& mappings) {
  std::vector<const Mapping*> places;
  for (const auto& mapping : mappings) {
    if (is_steady_code(mapping)) places.push_back(&mapping);
  }
  std::stable_partition(places.begin(), places.end(), [](const Mapping* mapping) { return is_c_library(*mapping); });

  CallCode code;
  std::vector<std::byte> piece(kPieceBytes + kLongest);
  std::size_t searched = 0;
  for (const Mapping* place : places) {
    for (std::uint64_t at = place->start; at < place->end && searched < kMaxSearchBytes; at += kPieceBytes) {
      // Pieces overlap, so that no instruction is cut in two.
      const auto length = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), place->end - at));
      const MutableBytes bytes = std::span(piece).first(length);
      searched += length;
      if (!read_remote(process, at, bytes)) break;  // unmapped since, or past the file's end: other places may do
      look_for_code(bytes, at, code);
      if (code.system_call != 0 && code.restorer != 0) return code;
    }
  }
  return fail(ErrorKind::kUnsupported,
              fmt::format("process {} has no code that {}", process.pid(),
                          code.system_call == 0 ? "makes a system call and returns" : "returns from a signal"));
}

bool holds_call_code(const RemoteProcess& process, const CallCode& code) {
  return holds(process, code.system_call, kSystemCallAndReturn) &&
         (holds(process, code.restorer, kLongRestorer) || holds(process, code.restorer, kShortRestorer));
}

}  // namespace godwit
