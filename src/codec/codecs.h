// The makers of all codecs, for the registry in codec.cpp only. Each codec is a file of its name.
#pragma once

#include "codec/codec.h"

namespace godwit {

/// 64 pages of 4 KiB: no block is longer before it is encoded or after it is decoded. Longer ones are refused, so that
/// lengths fit every library's integers.
inline constexpr std::size_t kLongestBlock = 64 * 4096;

/// Levels have been checked by the registry.
Result<std::unique_ptr<Encoder>> make_lz4_encoder(int acceleration);
Result<std::unique_ptr<Decoder>> make_lz4_decoder();
Result<std::unique_ptr<Encoder>> make_zstd_encoder(int level);
Result<std::unique_ptr<Decoder>> make_zstd_decoder();
Result<std::unique_ptr<Encoder>> make_deflate_encoder(int level);
Result<std::unique_ptr<Decoder>> make_deflate_decoder();
Result<std::unique_ptr<Decoder>> make_raw_decoder();

}  // namespace godwit
