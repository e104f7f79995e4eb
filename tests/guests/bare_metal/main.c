// Reads the command line and sets the CPUs to work. The line is words NAME=VALUE; sizes end in K, M or G:
//
//   work=64M            hot area of this size at the lowest place that is free
//   hot=START:SIZE      a hot area, up to 8; above 4 GiB too
//   cold=START:SIZE     an area that is written once, then only verified, up to 8
//   touch=START:SIZE    an area that is written once; the first CPU then touches it here and there, and takes the time
//   halt=N              halts for good after N passes over the hot areas (1: when they have been filled)
//   cpus=N rate=N passes=N stride=N zeros=N soft=1 spin=1     struct Task says what they are
//   disk=1 pool=SIZE    reads the first virtio-blk disk for ever into a pool of buffers (default 16M)
#include "guest.h"

#define MULTIBOOT_MAGIC 0x2BADB002u
#define HIGH_PAGE 0xC0000u

struct MultibootInfo {
  uint32_t flags;
  uint32_t mem_lower, mem_upper;
  uint32_t boot_device;
  uint32_t command_line;
};

struct Task task = {.cpus = 1, .stride = 1, .disk_pause = 16};
static char line[512];

void guest_main(uint32_t magic, const struct MultibootInfo* info);

static const char* parse_size(const char* text, uint64_t* value) {
  *value = 0;
  while (*text >= '0' && *text <= '9') *value = *value * 10 + (uint64_t)(*text++ - '0');
  if (*text == 'K') *value <<= 10, ++text;
  if (*text == 'M') *value <<= 20, ++text;
  if (*text == 'G') *value <<= 30, ++text;
  return text;
}

static void add_area(struct Area* areas, uint32_t* count, uint64_t start, uint64_t size) {
  if (*count == MAX_AREAS) stuck("more areas than there is room for", MAX_AREAS);
  if (start < GUEST_LOWEST_AREA || start % PAGE_SIZE != 0)
    stuck("an area must begin on a page from 16 MiB on", (uint32_t)start);
  if (size < PAGE_SIZE * GUEST_MAX_CPUS || size % PAGE_SIZE != 0)
    stuck("an area must be 32 KiB at least", (uint32_t)size);
  areas[(*count)++] = (struct Area){(uint32_t)(start / PAGE_SIZE), (uint32_t)(size / PAGE_SIZE)};
}

static bool is(const char* word, const char* name) {
  while (*name != 0 && *word == *name) ++word, ++name;
  return *name == 0 && *word == '=';
}

static const char* value_of(const char* word) {
  while (*word != '=') ++word;
  return word + 1;
}

static void take_area(const char* text, struct Area* areas, uint32_t* count) {
  uint64_t start, size;
  text = parse_size(text, &start);
  if (*text != ':') stuck("an area is START:SIZE", *count);
  parse_size(text + 1, &size);
  add_area(areas, count, start, size);
}

static void take_touch(const char* text) {
  uint32_t count = 0;
  take_area(text, &task.touch, &count);
}

/// `work` and `pool` are sizes whose place is found once all is known.
static void take_word(const char* word, uint64_t* work, uint64_t* pool) {
  uint64_t value = 0;
  if (is(word, "hot")) return take_area(value_of(word), task.hot, &task.hot_count);
  if (is(word, "cold")) return take_area(value_of(word), task.cold, &task.cold_count);
  if (is(word, "touch")) return take_touch(value_of(word));
  const bool known = is(word, "work") || is(word, "pool") || is(word, "cpus") || is(word, "rate") ||
                     is(word, "passes") || is(word, "stride") || is(word, "zeros") || is(word, "soft") ||
                     is(word, "spin") || is(word, "disk") || is(word, "halt");
  if (!known) return;  // the loader puts the image's path in front
  parse_size(value_of(word), &value);
  if (is(word, "work")) *work = value;
  if (is(word, "pool")) *pool = value;
  if (is(word, "cpus")) task.cpus = (uint32_t)value;
  if (is(word, "rate")) task.rate = (uint32_t)value;
  if (is(word, "passes")) task.passes = (uint32_t)value;
  if (is(word, "halt")) task.halt = (uint32_t)value;
  if (is(word, "stride")) task.stride = (uint32_t)value;
  if (is(word, "zeros")) task.zero_every = (uint32_t)value;
  if (is(word, "soft")) task.soft = value != 0;
  if (is(word, "spin")) task.spin = value != 0;
  if (is(word, "disk")) task.disk = value != 0;
}

static void read_line(void) {
  uint64_t work = 0, pool = 16u << 20;
  for (char* at = line; *at != 0;) {
    char* end = at;
    while (*end != 0 && *end != ' ') ++end;
    const char was = *end;
    *end = 0;
    take_word(at, &work, &pool);
    *end = was;
    at = was == 0 ? end : end + 1;
  }
  uint64_t lowest = GUEST_LOWEST_AREA;
  if (task.disk) {
    uint32_t count = 0;
    add_area(&task.pool, &count, lowest, pool);
    lowest += pool;
  }
  if (work != 0) add_area(task.hot, &task.hot_count, lowest, work);
  if (task.hot_count == 0) add_area(task.hot, &task.hot_count, lowest, 1u << 20);
  if (task.cpus == 0 || task.cpus > GUEST_MAX_CPUS) stuck("cpus must be 1 to 8", task.cpus);
  if (task.stride == 0 || task.stride > PAGE_WORDS) stuck("stride must be 1 to 1024", task.stride);
}

static bool needs_high_memory(void) {
  for (uint32_t i = 0; i < task.hot_count; ++i) {
    if (task.hot[i].first_page + task.hot[i].pages > HIGH_PAGE) return true;
  }
  for (uint32_t i = 0; i < task.cold_count; ++i) {
    if (task.cold[i].first_page + task.cold[i].pages > HIGH_PAGE) return true;
  }
  return task.touch.first_page + task.touch.pages > HIGH_PAGE;
}

void guest_main(uint32_t magic, const struct MultibootInfo* info) {
  if (magic != MULTIBOOT_MAGIC) stuck("not started by a multiboot loader", magic);
  if ((info->flags & 4) != 0) {
    const char* from = (const char*)info->command_line;
    for (uint32_t i = 0; i + 1 < sizeof(line) && from[i] != 0; ++i) line[i] = from[i];
  }
  for (uint32_t i = 0; i < sizeof(struct GuestStatus) / 4; ++i) ((volatile uint32_t*)STATUS)[i] = 0;
  STATUS->version = GUEST_STATUS_VERSION;
  STATUS->state = GUEST_STARTING;
  STATUS->magic = GUEST_STATUS_MAGIC;
  read_line();
  task.high = needs_high_memory();
  if (task.high) prepare_high_memory();
  make_template();
  start_cpus();
  if (task.disk) disk_start();
  for (uint32_t i = 0; i < task.cold_count; ++i) STATUS->cold_pages += task.cold[i].pages;
  STATUS->state = GUEST_RUNNING;
  print("running: ");
  print(line);
  print("\n");
  release_cpus();
  work(0);
}
