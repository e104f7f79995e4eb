// What is used of QPL's job interface (libraries 1.0 to 1.9), by our own declarations: the library need not be there to
// build. tests/codec/real_headers_test.cpp compares them with the real header where that is at hand.
#pragma once

#include <cstdint>

namespace godwit::qpl {

inline constexpr int kHardwarePath = 1;
inline constexpr int kDecompress = 0;
inline constexpr int kCompress = 1;
inline constexpr int kDefaultLevel = 1;
inline constexpr std::uint32_t kFirst = 0x0001;
inline constexpr std::uint32_t kLast = 0x0002;
inline constexpr std::uint32_t kDynamicHuffman = 0x2000;

// Statuses that are told apart.
inline constexpr int kOk = 0;
inline constexpr int kBeingProcessed = 1;
inline constexpr int kMoreOutputNeeded = 2;
inline constexpr int kQueuesBusy = 5;
inline constexpr int kNotSupportedByQueue = 8;
inline constexpr int kOutputTooShort = 225;
inline constexpr int kOutputOverflow = 311;
inline constexpr int kHardwareNotSupported = 500;
inline constexpr int kNoAccelConfig = 501;
inline constexpr int kAccelConfigError = 502;
inline constexpr int kNoWorkQueues = 503;

struct Job {
  std::uint8_t* in;
  std::uint32_t in_left;
  std::uint32_t in_total;
  std::uint8_t* out;
  std::uint32_t out_left;
  std::uint32_t out_total;
  int operation;
  std::uint32_t flags;
  std::uint32_t crc;
  std::uint32_t xor_sum;
  std::uint32_t last_bit;
  int level;
  int statistics;
  void* huffman_table;
  void* dictionary;
  int mini_block;
  std::uint64_t* index;
  std::uint32_t index_room;
  std::uint32_t index_written;
  std::uint8_t end_processing;
  std::uint8_t ignore_first_bits;
  std::uint8_t ignore_last_bits;
  std::uint64_t crc64_polynomial;
  std::uint64_t crc64;
  std::uint8_t* second_in;
  std::uint32_t second_in_left;
  std::uint32_t first_width;
  std::uint32_t second_width;
  std::uint32_t elements;
  int out_width;
  std::uint32_t low;
  std::uint32_t high;
  std::uint32_t dropped_first;
  std::uint32_t first_index;
  int parser;
  std::uint32_t least_at;
  std::uint32_t most_at;
  std::uint32_t sum;
  std::int32_t numa_node;
  struct {
    std::uint8_t* compress;
    std::uint8_t* decompress;
    std::uint8_t* analytics;
    std::uint8_t* middle;
    std::uint8_t* hardware;
    int path;
  } own;
};

// The calls, by their names in the library.
using GetJobSize = int(int path, std::uint32_t* size);
using InitJob = int(int path, Job*);
using SubmitJob = int(Job*);
using CheckJob = int(Job*);
using FiniJob = int(Job*);
using GetLibraryVersion = const char*();

}  // namespace godwit::qpl
