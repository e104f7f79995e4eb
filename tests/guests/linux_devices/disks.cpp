// Disks: patterns at places all over one, past the page cache; and one that is never idle.
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <memory>
#include <thread>
#include <vector>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr std::size_t kPieceBytes = 64 << 10;
constexpr std::uint64_t kMebibyte = 1 << 20;
constexpr std::uint64_t kSector = 512;
// Patterns are in the first half of a disk, what disk-busy writes is in the second.
constexpr unsigned kPieces = 8;

std::string device_of(std::uint64_t mebibytes) {
  std::error_code none;
  for (const auto& each : std::filesystem::directory_iterator("/sys/block", none)) {
    std::uint64_t sectors = 0;
    if (std::ifstream(each.path() / "size") >> sectors && sectors * kSector == mebibytes * kMebibyte) {
      return "/dev/" + each.path().filename().string();
    }
  }
  return "";
}

int open_disk(std::uint64_t mebibytes) {
  int disk = -1;
  // A USB disk takes seconds to be found, and then a moment more to be ready.
  wait_for([&] {
    const std::string device = device_of(mebibytes);
    errno = ENODEV;
    if (!device.empty()) disk = ::open(device.c_str(), O_RDWR | O_DIRECT | O_SYNC | O_CLOEXEC);
    return disk >= 0;
  });
  return disk;
}

/// Memory that a disk can be asked to read and write.
class Piece {
 public:
  Piece() : words_(static_cast<std::uint64_t*>(std::aligned_alloc(4096, kPieceBytes))) {}
  ~Piece() { std::free(words_); }
  Piece(const Piece&) = delete;
  void fill(std::uint64_t seed) {
    for (std::size_t i = 0; i < kWords; ++i) words_[i] = word(seed, i);
  }
  void clear() { std::fill(words_, words_ + kWords, 0); }
  bool holds(std::uint64_t seed) const {
    for (std::size_t i = 0; i < kWords; ++i) {
      if (words_[i] != word(seed, i)) return false;
    }
    return true;
  }
  bool write(int disk, std::uint64_t at) const {
    return ::pwrite(disk, words_, kPieceBytes, static_cast<off_t>(at)) == static_cast<ssize_t>(kPieceBytes);
  }
  bool read(int disk, std::uint64_t at) {
    clear();
    return ::pread(disk, words_, kPieceBytes, static_cast<off_t>(at)) == static_cast<ssize_t>(kPieceBytes);
  }

 private:
  static constexpr std::size_t kWords = kPieceBytes / sizeof(std::uint64_t);
  static std::uint64_t word(std::uint64_t seed, std::size_t i) {
    std::uint64_t z = (seed << 20) + i + 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    return z ^ (z >> 27);
  }
  std::uint64_t* words_;
};

std::uint64_t place(std::uint64_t mebibytes, unsigned piece) {
  return mebibytes * kMebibyte / 2 / kPieces * piece / kPieceBytes * kPieceBytes;
}

struct Busy {
  std::atomic<bool> stop{false};
  std::atomic<std::uint64_t> rounds{0}, errors{0};
  std::thread thread;
};

std::map<std::uint64_t, std::unique_ptr<Busy>>& busy_disks() {
  static std::map<std::uint64_t, std::unique_ptr<Busy>> disks;
  return disks;
}

void keep_busy(int disk, std::uint64_t mebibytes, Busy& busy) {
  Piece piece;
  std::uint64_t seed = mebibytes;
  const std::uint64_t begin = mebibytes * kMebibyte / 2, pieces = begin / kPieceBytes;
  while (!busy.stop) {
    ++seed;
    const std::uint64_t at = begin + seed * 7919 % pieces * kPieceBytes;
    piece.fill(seed);
    const bool done = piece.write(disk, at) && piece.read(disk, at);
    if (!done || !piece.holds(seed)) ++busy.errors;
    ++busy.rounds;
  }
  ::close(disk);
}

}  // namespace

std::string disk_write(std::istringstream& line) {
  std::uint64_t mebibytes = 0, seed = 0;
  line >> mebibytes >> seed;
  const int disk = open_disk(mebibytes);
  if (disk < 0) return os_error("open the disk");
  Piece piece;
  bool ok = true;
  for (unsigned i = 0; i < kPieces; ++i) {
    piece.fill(seed + i);
    ok = ok && piece.write(disk, place(mebibytes, i));
  }
  const std::string answer = ok ? "ok" : os_error("write");
  ::close(disk);
  return answer;
}

std::string disk_check(std::istringstream& line) {
  std::uint64_t mebibytes = 0, seed = 0;
  line >> mebibytes >> seed;
  const int disk = open_disk(mebibytes);
  if (disk < 0) return os_error("open the disk");
  Piece piece;
  unsigned wrong = 0, unread = 0;
  for (unsigned i = 0; i < kPieces; ++i) {
    if (!piece.read(disk, place(mebibytes, i))) {
      ++unread;
    } else if (!piece.holds(seed + i)) {
      ++wrong;
    }
  }
  ::close(disk);
  if (wrong + unread == 0) return "ok";
  return "error: of " + std::to_string(kPieces) + " pieces " + std::to_string(unread) + " cannot be read and " +
         std::to_string(wrong) + " are wrong";
}

std::string disk_busy(std::istringstream& line) {
  std::uint64_t mebibytes = 0;
  line >> mebibytes;
  const int disk = open_disk(mebibytes);
  if (disk < 0) return os_error("open the disk");
  auto busy = std::make_unique<Busy>();
  busy->thread = std::thread([disk, mebibytes, &state = *busy] { keep_busy(disk, mebibytes, state); });
  busy_disks()[mebibytes] = std::move(busy);
  return "ok";
}

std::string disk_rest(std::istringstream& line) {
  std::uint64_t mebibytes = 0;
  line >> mebibytes;
  const auto found = busy_disks().find(mebibytes);
  if (found == busy_disks().end()) return "error: it is not busy";
  Busy& busy = *found->second;
  // It has to go on by itself first.
  const std::uint64_t before = busy.rounds;
  const bool goes_on = wait_for([&] { return busy.rounds > before + 2; });
  busy.stop = true;
  if (!goes_on) return "error: it hangs after " + std::to_string(before) + " rounds";
  busy.thread.join();
  const std::uint64_t errors = busy.errors, rounds = busy.rounds;
  busy_disks().erase(found);
  if (errors > 0) return "error: " + std::to_string(errors) + " of " + std::to_string(rounds) + " rounds failed";
  return "ok " + std::to_string(rounds);
}

}  // namespace godwit::guest
