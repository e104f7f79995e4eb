// What a guest lacked when it was let run at this sink: kept beside the journal, for whoever goes on with a post-copy
// that broke off.
//
//   "godwit missing 4 HEAD WORDS SUM" | head (JSON): which move, which memory, where it lies
//   | a word per chunk: what was missing | a word per chunk: what of it has come (engine/arrived_map.h)
//   | COUNT SUM (together in a page) | a chunk and a word, COUNT times: what is missing besides
//
// Written as a whole (a new file that takes the old one's name) with the first map of what is taken away ahead, while
// the guest runs at the source: of a TiB that is 64 MiB. In its pause what later maps told is added: COUNT is written
// last. What comes then, and that nothing is missing any more, is marked in the part for it, which no sum covers.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "engine/arrived_map.h"
#include "memory/ram_layout.h"

namespace godwit {

struct MissingRecord {
  std::string id;  ///< of the migration
  std::string vm_name;
  std::string where;                  ///< MissingPages::trace()
  bool direct = false;                ///< how its devices went
  std::vector<RamBlock> blocks = {};  ///< in the order of their numbering
  std::vector<PageWord> words = {};   ///< what was missing, by chunk; none: nothing is any more
};

struct MissingBesides {
  ChunkIndex chunk;
  PageWord pages = 0;
};

/// The file is there as a whole, or as it was; it has words.
Status write_missing_record(const std::string& path, const MissingRecord& record);
/// Once, to a record that has words, each chunk at most once: all of it has been added, or nothing. As
/// read_missing_record(), without looking at the words.
Status add_to_missing_record(const std::string& path, std::span<const MissingBesides> besides);
/// kNotFound: there is none. kRefused: it is not one of this version, or is damaged.
Result<MissingRecord> read_missing_record(const std::string& path);
/// With what a writer that was killed has left of a new one.
void remove_missing_record(const std::string& path) noexcept;
/// What has come since the record was written. As read_missing_record().
Result<ArrivedMap> map_arrived(const std::string& path);

}  // namespace godwit
