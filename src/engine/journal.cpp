#include "engine/journal.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <filesystem>

#include "base/migration_id.h"

namespace godwit {

namespace {

using State = Journal::State;

// The record: its state and mark in one line, filled up with blanks. Records of one length within the file's first
// page, each written by one pwrite: a writer that is killed leaves the old record or the new one.
constexpr std::string_view kMagic = "godwit journal 2 ";
constexpr std::size_t kRecord = 1024;
// In the same write, behind what an older engine reads: the migration's id, in a line of its own.
constexpr std::string_view kIdMagic = "migration ";
constexpr std::size_t kIdRecord = 128;
static_assert(kIdMagic.size() + kMaxMigrationId < kIdRecord);
// The settings lie behind that, with their length and checksum in front: an engine that is killed while it writes them
// has changed none yet, and what it wrote does not count.
constexpr off_t kSettingsAt = 4096;
constexpr std::size_t kSettingsHeader = 64;

struct Word {
  State state;
  std::string_view word;
};
constexpr std::array kWords = {
    Word{State::kMigrating, "migrating"},      Word{State::kPausing, "pausing"},   Word{State::kPaused, "paused"},
    Word{State::kHandingOver, "handing-over"}, Word{State::kStopped, "stopped"},   Word{State::kCommitted, "committed"},
    Word{State::kReceiving, "receiving"},      Word{State::kStarting, "starting"}, Word{State::kFollowing, "following"},
    Word{State::kLacking, "lacking"},
};

std::string_view word_of(State state) {
  for (const auto& each : kWords) {
    if (each.state == state) return each.word;
  }
  return "none";
}

/// FNV-1a: against halves of a text, not against forgers.
std::uint64_t checksum(std::string_view text) {
  std::uint64_t sum = 0xcbf29ce484222325;
  for (const char c : text) sum = (sum ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return sum;
}

std::string settings_header(std::string_view settings) {
  std::string header = fmt::format("settings {} {:016x}", settings.size(), checksum(settings));
  header.resize(kSettingsHeader - 1, ' ');
  return header + '\n';
}

Result<std::string> read_at(int fd, off_t at, std::size_t most, const std::string& path) {
  std::string text(most, '\0');
  const auto n = ::pread(fd, text.data(), most, at);
  if (n < 0) return fail_os("read " + path);
  text.resize(static_cast<std::size_t>(n));
  return text;
}

Result<Journal::Found> read_record(std::string_view text, const std::string& path) {
  Journal::Found found;
  if (text.empty()) return found;
  const auto foreign = [&] {
    return fail(ErrorKind::kRefused,
                path + " is not a journal of this version of Godwit: a VM that it speaks of is not touched");
  };
  if (text.size() < kRecord || !text.starts_with(kMagic) || text[kRecord - 1] != '\n') return foreign();
  text = text.substr(kMagic.size(), kRecord - 1 - kMagic.size());
  const auto space = text.find(' ');
  const std::string_view word = text.substr(0, space);
  for (const auto& each : kWords) {
    if (each.word == word) found.state = each.state;
  }
  if (found.state == State::kNone || space == std::string_view::npos) return foreign();
  text.remove_prefix(space + 1);
  found.mark = text.substr(0, text.find_last_not_of(' ') + 1);
  return found;
}

Result<std::string> read_settings(int fd, const std::string& path) {
  const std::string text = TRY(read_at(fd, kSettingsAt, kSettingsHeader + kMostSettings, path));
  if (text.size() < kSettingsHeader) return std::string();
  std::string settings = text.substr(kSettingsHeader);
  if (text.compare(0, kSettingsHeader, settings_header(settings)) != 0) return std::string();
  return settings;
}

/// Of an engine that wrote none, or of a later one that writes it in another way, there is none: it is only a name.
std::string id_in(std::string_view text) {
  if (text.size() < kIdRecord || !text.starts_with(kIdMagic)) return {};
  text.remove_prefix(kIdMagic.size());
  text = text.substr(0, text.find(' '));
  return is_migration_id(text) ? std::string(text) : std::string();
}

Result<Journal::Found> read_journal(int fd, const std::string& path) {
  const std::string record = TRY(read_at(fd, 0, kRecord + kIdRecord, path));
  auto found = TRY(read_record(record, path));
  if (record.size() > kRecord) found.id = id_in(std::string_view(record).substr(kRecord));
  if (found.state != State::kNone) found.settings = TRY(read_settings(fd, path));
  return found;
}

Status write_at(int fd, off_t at, std::string_view text, const std::string& path) {
  const auto n = ::pwrite(fd, text.data(), text.size(), at);
  if (n < 0) return fail_os("write " + path);
  // The page cache outlives this process; only the host's end could lose what was written, and that ends the VM too.
  return n == static_cast<ssize_t>(text.size()) ? Status{} : fail(ErrorKind::kIo, "write " + path + ": no room");
}

}  // namespace

Journal::Journal(std::string path, UniqueFd fd, Found found)
    : path_(std::move(path)),
      fd_(std::move(fd)),
      found_(std::move(found)),
      state_(found_.state),
      mark_(found_.mark),
      id_(found_.id),
      settings_kept_(!found_.settings.empty()) {}

Result<Journal> Journal::open(const std::string& folder, const VmProcess& vm) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) return fail(os_error("make " + folder, error.value()));
  remove_stale_journals(folder);
  auto path = TRY(journal_path(folder, vm));
  auto fd = TRY(open_and_lock(path));
  auto found = TRY(read_journal(fd.get(), path));
  return Journal(std::move(path), std::move(fd), std::move(found));
}

Result<Journal::State> Journal::peek(const std::string& folder, const VmProcess& vm) {
  const auto path = TRY(journal_path(folder, vm));
  const UniqueFd fd = TRY(lock_if_there(path));
  if (!fd) return State::kNone;
  return TRY(read_journal(fd.get(), path)).state;
}

Status Journal::enter(State state) {
  const std::lock_guard lock(*mutex_);
  const State before = state_;
  state_ = state;
  // A new stop gets a mark of its own; the hand-over's mark stays good if the commit is taken back.
  if (state != State::kCommitted && state != State::kFollowing && state != State::kStopped) mark_.clear();
  if (state == State::kReceiving) {
    id_.clear();
    remove_missing_record(missing_path());
  }
  Status written = write();
  if (!written) state_ = before;
  return written;
}

Status Journal::name_migration(std::string_view id) {
  if (!is_migration_id(id)) return fail(ErrorKind::kInvalidArgument, "a migration's id is hexadecimal");
  const std::lock_guard lock(*mutex_);
  id_ = id;
  return state_ == State::kNone ? Status{} : write();
}

Status Journal::guest_stands(std::string_view mark) {
  if (mark.size() > kMostMark || mark.find('\n') != std::string_view::npos) {
    return fail(ErrorKind::kInvalidArgument, "a mark that does not fit into the journal");
  }
  const std::lock_guard lock(*mutex_);
  if (state_ == State::kPausing) {
    state_ = State::kPaused;
  } else if (state_ == State::kHandingOver) {
    state_ = State::kStopped;
  } else if (state_ != State::kPaused && state_ != State::kStopped && state_ != State::kCommitted &&
             state_ != State::kFollowing) {
    return {};  // nothing is stopped by this engine any more: the mark comes too late
  }
  mark_ = mark;
  return write();
}

Status Journal::write() {
  std::string record = fmt::format("{}{} {}", kMagic, word_of(state_), mark_);
  record.resize(kRecord - 1, ' ');
  record += '\n';
  if (!id_.empty()) record += fmt::format("{}{}", kIdMagic, id_);
  record.resize(kRecord + kIdRecord - 1, ' ');
  return write_at(fd_.get(), 0, record + '\n', path_);
}

Status Journal::keep_settings(std::string_view settings) {
  if (settings.empty() || settings.size() > kMostSettings) {
    return fail(ErrorKind::kInvalidArgument, fmt::format("settings of {} bytes cannot be kept", settings.size()));
  }
  const std::lock_guard lock(*mutex_);
  std::string text = settings_header(settings);
  text += settings;
  if (::ftruncate(fd_.get(), kSettingsAt) != 0) return fail_os("write " + path_);  // they reach to the file's end
  TRY(write_at(fd_.get(), kSettingsAt, text, path_));
  settings_kept_ = true;
  return {};
}

void Journal::settings_put_back() noexcept {
  const std::lock_guard lock(*mutex_);
  // Failing that, they are put back once more by the next engine: as harmless as it is rare.
  if (::ftruncate(fd_.get(), kSettingsAt) == 0) settings_kept_ = false;
}

Status Journal::keep_missing(const MissingRecord& record) const {
  return write_missing_record(missing_path(), record);
}

Status Journal::keep_missing_besides(std::span<const MissingBesides> besides) const {
  return add_to_missing_record(missing_path(), besides);
}

Status Journal::nothing_missing() const {
  TRY(arrived()).finish();
  return {};
}

Result<MissingRecord> Journal::missing() const {
  auto record = TRY(read_missing_record(missing_path()));
  if (!found_.id.empty() && record.id == found_.id) return record;
  return fail(ErrorKind::kRefused, missing_path() + " is of another migration than the journal beside it");
}

void Journal::clear() noexcept {
  const std::lock_guard lock(*mutex_);
  if (!fd_) return;
  // First: it is found by the journal.
  remove_missing_record(missing_path());
  if (settings_kept_) {
    const bool at_sink = state_ == State::kReceiving || state_ == State::kStarting || state_ == State::kLacking;
    if (!at_sink) state_ = State::kMigrating;
    mark_.clear();
    (void)write();
  } else {
    ::unlink(path_.c_str());
  }
  fd_.reset();
}

}  // namespace godwit
