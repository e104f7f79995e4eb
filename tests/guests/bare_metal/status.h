// What the bare-metal guest says about itself, in one page at a fixed guest-physical address.
//
// Written by the guest, read by the tests from outside while it runs: so every counter is one aligned 32-bit word,
// which no reader sees half-written. Counters wrap. Shared by C (the guest) and C++ (the tests).
#pragma once

#include <stdint.h>

#define GUEST_STATUS_ADDRESS 0x200000u /* 2 MiB: above the guest's image, below every area it works on */
#define GUEST_STATUS_MAGIC 0x54574447u /* "GDWT" */
#define GUEST_STATUS_VERSION 1u
#define GUEST_MAX_CPUS 8u
#define GUEST_LOWEST_AREA 0x1000000u /* 16 MiB: areas and the disk pool begin here at the lowest */

enum GuestState {
  GUEST_STARTING = 1,
  GUEST_RUNNING = 2,
  GUEST_STUCK = 3, /* its command line or its disk is wrong: the serial port says why */
};

struct GuestCpuStatus {
  uint32_t heartbeat;
  uint32_t passes; /* over the whole stripe of this CPU */
  uint32_t pages_written;
  uint32_t pages_verified; /* before each writing, and of the cold areas */
  uint32_t errors;         /* pages that did not hold what they must */
  uint32_t cold_passes;    /* over the stripe of the cold areas */
  uint32_t first_bad_page; /* page number of the first error, guest-physical */
  uint32_t first_bad_word; /* 0..1023 */
  uint32_t first_expected;
  uint32_t first_found;
  uint32_t first_generation; /* that was expected */
  uint32_t reserved[5];
};

struct GuestDiskStatus {
  uint32_t present;
  uint32_t submitted;
  uint32_t completed;
  uint32_t io_errors;
  uint32_t errors;     /* buffers that did not hold what the disk holds */
  uint32_t reverified; /* buffers looked at again long after they were read */
  uint32_t pool_passes;
  uint32_t first_bad_page; /* page number, guest-physical */
  uint32_t first_bad_word;
  uint32_t first_expected;
  uint32_t first_found;
  uint32_t first_sector;
  uint32_t reserved[4];
};

/* How long touches took, in ticks of the ACPI timer (3.579545 MHz): four buckets for each power of two. */
#define GUEST_TOUCH_BUCKETS 92u
struct GuestTouchStatus {
  uint32_t touches;
  uint32_t buckets[GUEST_TOUCH_BUCKETS];
};
/* Of up to 24 bits; the bucket begins at the ticks whose highest three bits are these. */
static inline uint32_t guest_touch_bucket(uint32_t ticks) {
  if (ticks < 4) return ticks;
  const uint32_t octave = 31u - (uint32_t)__builtin_clz(ticks);
  return octave * 4 + ((ticks >> (octave - 2)) & 3) - 4;
}

struct GuestStatus {
  uint32_t magic;
  uint32_t version;
  uint32_t state;      /* enum GuestState */
  uint32_t cpus;       /* that work */
  uint32_t cold_pages; /* in all cold areas */
  uint32_t reserved[11];
  struct GuestCpuStatus cpu[GUEST_MAX_CPUS];
  struct GuestDiskStatus disk;
  struct GuestTouchStatus touch;
};

/* Disk content: word `word` (0..127) of a sector. The tests write the disk with it, the guest checks it. */
static inline uint32_t guest_disk_word(uint32_t sector, uint32_t word) {
  uint32_t x = sector * 0x9E3779B1u + word * 0x85EBCA6Bu + 0x27D4EB2Fu;
  x ^= x >> 15;
  x *= 0x2C1B3C6Du;
  return x ^ (x >> 13);
}
