// Reads a virtio disk for ever, 16 requests of 64 KiB in flight, into a pool of buffers, and checks what landed.
//
//   pool  | b0 | b1 | b2 | ... requests take the buffers in turn; each remembers the sector that it was filled from
//
// A buffer is checked when its read completes, checked again in a slow round through the pool, and once more just
// before it is used again. So data that landed at the source but never reached the destination is found at the
// destination. The content of a disk is guest_disk_word() (status.h). Legacy virtio interface by I/O ports, split ring,
// polled.
#include "guest.h"

#define DEPTH 16u
#define BUFFER_PAGES 16u
#define SECTORS_PER_BUFFER 128u
#define PARTS 4u /* data descriptors a request: 16 KiB each */
#define DESCRIPTORS_PER_REQUEST (PARTS + 2)
#define MAX_QUEUE 1024u
#define MAX_BUFFERS 8192u
#define NEVER_READ 0xFFFFFFFFu

struct Descriptor {
  uint64_t address;
  uint32_t length;
  uint16_t flags;
  uint16_t next;
};
enum { NEXT = 1, DEVICE_WRITES = 2 };
struct UsedElement {
  uint32_t id;
  uint32_t length;
};
struct RequestHeader {
  uint32_t type;
  uint32_t reserved;
  uint64_t sector;
};

static uint8_t ring[3 * PAGE_SIZE + 8 * PAGE_SIZE + 8 * MAX_QUEUE] __attribute__((aligned(4096)));
static struct RequestHeader headers[DEPTH];
static volatile uint8_t results[DEPTH];
static uint32_t buffer_of_request[DEPTH];
static uint32_t sector_of_buffer[MAX_BUFFERS];
static bool in_flight[MAX_BUFFERS];

static volatile struct Descriptor* descriptors;
static volatile uint16_t* available; /* flags, index, ring */
static volatile uint16_t* used;      /* flags, index, then elements */
static uint16_t queue_size;
static uint16_t used_seen;
static uint16_t port;
static uint32_t buffers, next_buffer, reverify_next;
static uint32_t disk_chunks, next_chunk; /* of 64 KiB */

static uint32_t pci_read(uint32_t device, uint32_t offset) {
  out32(0xCF8, 0x80000000u | device << 11 | offset);
  return in32(0xCFC);
}

static void pci_write(uint32_t device, uint32_t offset, uint32_t value) {
  out32(0xCF8, 0x80000000u | device << 11 | offset);
  out32(0xCFC, value);
}

static uint16_t find_disk(void) {
  for (uint32_t device = 0; device < 32; ++device) {
    if (pci_read(device, 0) != 0x10011AF4u) continue;  // virtio-blk, transitional
    pci_write(device, 4, pci_read(device, 4) | 5);     // I/O and bus mastering
    const uint32_t bar = pci_read(device, 0x10);
    if ((bar & 1) == 0) stuck("the disk has no legacy interface", bar);
    return (uint16_t)(bar & ~3u);
  }
  stuck("no virtio-blk disk with a legacy interface", 0);
}

static uint8_t* buffer_at(uint32_t buffer) {
  return (uint8_t*)((task.pool.first_page + buffer * BUFFER_PAGES) * PAGE_SIZE);
}

static void check_buffer(uint32_t buffer) {
  const volatile uint32_t* words = (const volatile uint32_t*)buffer_at(buffer);
  for (uint32_t i = 0; i < BUFFER_PAGES * PAGE_WORDS; ++i) {
    const uint32_t sector = sector_of_buffer[buffer] + i / 128;
    const uint32_t expected = guest_disk_word(sector, i % 128);
    if (words[i] == expected) continue;
    volatile struct GuestDiskStatus* disk = &STATUS->disk;
    if (disk->errors == 0) {
      disk->first_bad_page = task.pool.first_page + buffer * BUFFER_PAGES + i / PAGE_WORDS;
      disk->first_bad_word = i % PAGE_WORDS;
      disk->first_expected = expected;
      disk->first_found = words[i];
      disk->first_sector = sector;
      print("ERROR disk buffer, page ");
      print_hex(disk->first_bad_page);
      print(" sector ");
      print_hex(sector);
      print("\n");
    }
    disk->errors = disk->errors + 1;
    return;
  }
}

static void submit(uint32_t request) {
  const uint32_t buffer = next_buffer;
  next_buffer = (next_buffer + 1) % buffers;
  if (next_buffer == 0) STATUS->disk.pool_passes++;
  if (sector_of_buffer[buffer] != NEVER_READ) check_buffer(buffer);
  sector_of_buffer[buffer] = next_chunk * SECTORS_PER_BUFFER;
  next_chunk = (next_chunk + 1) % disk_chunks;
  buffer_of_request[request] = buffer;
  in_flight[buffer] = true;
  headers[request] = (struct RequestHeader){0, 0, sector_of_buffer[buffer]};
  results[request] = 0xFF;

  const uint16_t first = (uint16_t)(request * DESCRIPTORS_PER_REQUEST);
  descriptors[first] = (struct Descriptor){(uint32_t)&headers[request], 16, NEXT, (uint16_t)(first + 1)};
  for (uint16_t part = 0; part < PARTS; ++part) {
    const uint32_t length = BUFFER_PAGES * PAGE_SIZE / PARTS;
    descriptors[first + 1 + part] = (struct Descriptor){(uint32_t)buffer_at(buffer) + part * length, length,
                                                        NEXT | DEVICE_WRITES, (uint16_t)(first + 2 + part)};
  }
  descriptors[first + 1 + PARTS] = (struct Descriptor){(uint32_t)&results[request], 1, DEVICE_WRITES, 0};
  available[2 + available[1] % queue_size] = first;
  full_barrier();
  available[1] = (uint16_t)(available[1] + 1);
  full_barrier();
  STATUS->disk.submitted++;
  if ((used[0] & 1) == 0) out16((uint16_t)(port + 0x10), 0);  // notify queue 0
}

void disk_start(void) {
  port = find_disk();
  out8((uint16_t)(port + 0x12), 0);  // reset
  out8((uint16_t)(port + 0x12), 3);  // acknowledged, driver
  out32((uint16_t)(port + 4), 0);    // no features
  out16((uint16_t)(port + 0xE), 0);  // queue 0
  queue_size = in16((uint16_t)(port + 0xC));
  if (queue_size < DEPTH * DESCRIPTORS_PER_REQUEST || queue_size > MAX_QUEUE) stuck("queue size", queue_size);
  const uint32_t driver_bytes = 16u * queue_size + 6 + 2u * queue_size;
  descriptors = (volatile struct Descriptor*)ring;
  available = (volatile uint16_t*)(ring + 16u * queue_size);
  used = (volatile uint16_t*)(ring + (driver_bytes + PAGE_SIZE - 1) / PAGE_SIZE * PAGE_SIZE);
  available[0] = 1;  // no interrupts
  out32((uint16_t)(port + 8), (uint32_t)ring / PAGE_SIZE);
  out8((uint16_t)(port + 0x12), 7);  // driver ok

  disk_chunks = in32((uint16_t)(port + 0x14)) / SECTORS_PER_BUFFER;
  buffers = task.pool.pages / BUFFER_PAGES;
  if (buffers > MAX_BUFFERS) buffers = MAX_BUFFERS;
  if (disk_chunks == 0 || buffers < 2 * DEPTH) stuck("the disk or the pool is too small", disk_chunks);
  for (uint32_t i = 0; i < buffers; ++i) sector_of_buffer[i] = NEVER_READ;
  STATUS->disk.present = 1;
  for (uint32_t request = 0; request < DEPTH; ++request) submit(request);
}

void disk_serve(void) {
  while (used_seen != used[1]) {
    const volatile struct UsedElement* element =
        (const volatile struct UsedElement*)(used + 2) + used_seen % queue_size;
    const uint32_t request = element->id / DESCRIPTORS_PER_REQUEST;
    ++used_seen;
    if (request >= DEPTH) stuck("an answer to no request", element->id);
    const uint32_t buffer = buffer_of_request[request];
    in_flight[buffer] = false;
    STATUS->disk.completed++;
    if (results[request] != 0) {
      STATUS->disk.io_errors++;
    } else {
      check_buffer(buffer);
    }
    submit(request);
  }
  // One buffer of the slow round.
  const uint32_t buffer = reverify_next;
  reverify_next = (reverify_next + 1) % buffers;
  if (sector_of_buffer[buffer] != NEVER_READ && !in_flight[buffer]) {
    check_buffer(buffer);
    STATUS->disk.reverified++;
  }
}
