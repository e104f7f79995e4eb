// What is used of QATzip's interface (API 2.3 to 2.5, libraries 1.1 to 1.3), by our own declarations: the library need
// not be there to build. tests/codec/real_headers_test.cpp compares them with the real header where that is at hand.
#pragma once

#include <cstddef>

namespace godwit::qatzip {

// Statuses that are told apart.
inline constexpr int kOk = 0;
inline constexpr int kDuplicate = 1;
inline constexpr int kForceSoftware = 2;
inline constexpr int kBufferError = -3;
inline constexpr int kDataError = -4;
inline constexpr int kSoftwareNoDevice = 11;
inline constexpr int kSoftwareNoMemoryDriver = 12;
inline constexpr int kSoftwareNoInstance = 13;
inline constexpr int kSoftwareLowMemory = 14;
inline constexpr int kNoDevice = -101;
inline constexpr int kNoMemoryDriver = -102;
inline constexpr int kNoInstance = -103;
inline constexpr int kLowMemory = -104;
inline constexpr int kUninitialized = 100;

inline constexpr int kBothDirections = 2;
inline constexpr int kDynamicHuffman = 0;
inline constexpr int kRawDeflate = 3;
inline constexpr int kPeriodicalPolling = 0;
inline constexpr unsigned kLeastThreshold = 128;
/// Requests of a call up to which it starts no thread.
inline constexpr unsigned kRequestsOfACall = 32;
inline constexpr unsigned char kDeflate = 8;
inline constexpr int kPinned = 1;
inline constexpr int kAnyNode = -1;
/// Of a call's extended answer, where the library fills it: the CPU did it.
inline constexpr unsigned long kDoneBySoftware = 1UL << 4;

struct Session {
  long device_status;
  int thread_status;
  void* internal;
  unsigned long total_in;
  unsigned long total_out;
};

struct CommonParameters {
  int direction;
  unsigned level;
  unsigned char algorithm;
  unsigned most_forks;
  unsigned char software_backup;
  unsigned request_bytes;
  unsigned stream_bytes;
  unsigned least_input;
  unsigned request_threshold;
  unsigned retry_threshold;
  int polling;
  unsigned sensitive_mode;
};

struct DeflateParameters {
  CommonParameters common;
  int huffman;
  int format;
};

// The calls, by their names in the library.
using Init = int(Session*, unsigned char software_backup);
using GetDefaultsDeflate = int(DeflateParameters*);
using SetupSessionDeflate = int(Session*, DeflateParameters*);
/// `crc`: of the input, by the device; goes on from what is there.
using CompressCrcExt = int(Session*, const unsigned char* from, unsigned* from_length, unsigned char* to,
                           unsigned* to_length, unsigned last, unsigned long* crc, unsigned long* extended);
using DecompressExt = int(Session*, const unsigned char* from, unsigned* from_length, unsigned char* to,
                          unsigned* to_length, unsigned long* extended);
using TeardownSession = int(Session*);
using Close = int(Session*);
using Malloc = void*(std::size_t, int node, int pinned);
using Free = void(void*);
using SetLogLevel = int(int level);
/// Of the driver's library, which QATzip brings along.
using CountInstances = int(unsigned short*);

}  // namespace godwit::qatzip
