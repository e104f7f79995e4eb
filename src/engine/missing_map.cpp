#include "engine/missing_map.h"

namespace godwit {

namespace {
constexpr std::size_t kMissingPiece = 32768;  // chunks a message
// Empty stretches shorter than this are not worth a message of their own.
constexpr std::size_t kGapWorthAMessage = 64;
}  // namespace

Status send_missing_map(wire::ControlConnection& control, std::uint32_t chunks,
                        const std::function<PageWord(ChunkIndex)>& missing) {
  for (std::uint32_t first = 0; first < chunks;) {
    if (missing(ChunkIndex{first}) == 0) {
      ++first;
      continue;
    }
    wire::MissingMap map{.first = ChunkIndex{first}, .words = {}};
    std::size_t empty = 0;
    for (std::uint32_t c = first; c < chunks && map.words.size() < kMissingPiece; ++c) {
      map.words.push_back(missing(ChunkIndex{c}));
      empty = map.words.back() == 0 ? empty + 1 : 0;
      if (empty >= kGapWorthAMessage) break;
    }
    first += static_cast<std::uint32_t>(map.words.size());
    map.words.resize(map.words.size() - empty);
    TRY(control.send(map));
  }
  return control.send(wire::MissingMapEnd{});
}

}  // namespace godwit
