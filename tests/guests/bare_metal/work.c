// Each CPU sweeps its stripe of the hot areas for ever: it verifies a page, then writes it with the next generation.
// What a page must hold follows from the sweep alone (before the sweep's place the new generation, behind it the old),
// so nothing that is lost on the way to another host can be explained by a table that was lost with it.
#include "guest.h"

#define HOT_PER_COLD 2u
#define COLD_GENERATION 0x1000000u /* none that a hot page reaches in a test */

static uint32_t mix(uint32_t x) {
  x ^= x >> 15;
  x *= 0x2C1B3C6Du;
  return x ^ (x >> 13);
}

// A page of stride 1 is a piece of a template of random words, taken at a place that page number and generation choose,
// with three words of its own: string instructions write and compare it, which an emulated CPU does many times faster.
// A page of a longer stride holds words of its own only, and zeros or what was there between them.
#define TEMPLATE_WORDS (2 * PAGE_WORDS)
static uint32_t template_words[TEMPLATE_WORDS];

struct Pattern {
  uint32_t seed;
  bool zero;
};

static struct Pattern pattern_of(uint32_t page, uint32_t generation) {
  const uint32_t seed = mix(page * 0x9E3779B1u + generation * 0x85EBCA6Bu + 0x165667B1u);
  const bool zero = task.zero_every != 0 && page % task.zero_every == 0 && (generation & 1) == 0;
  return (struct Pattern){seed, zero};
}

static inline bool own_word(uint32_t word) {
  return task.stride != 1 || word == 0 || word == 512 || word == 1023;
}

static inline uint32_t word_of(struct Pattern pattern, uint32_t word) {
  if (pattern.zero) return 0;
  if (own_word(word)) return pattern.seed ^ word * 0x9E3779B1u;
  return template_words[pattern.seed % PAGE_WORDS + word];
}

void make_template(void) {
  for (uint32_t i = 0; i < TEMPLATE_WORDS; ++i) {
    template_words[i] = mix((task.soft && (i & 3) != 0 ? 0 : i) * 0x9E3779B1u + 0x27D4EB2Fu);
  }
}

static void fill(uint32_t* at, uint32_t page, uint32_t generation) {
  const struct Pattern pattern = pattern_of(page, generation);
  if (task.stride != 1) {
    for (uint32_t word = 0; word < PAGE_WORDS; word += task.stride) {
      ((volatile uint32_t*)at)[word] = word_of(pattern, word);
    }
    return;
  }
  uint32_t* to = at;
  uint32_t count = PAGE_WORDS;
  if (pattern.zero) {
    __asm__ volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0) : "memory");
    return;
  }
  const uint32_t* from = template_words + pattern.seed % PAGE_WORDS;
  __asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(count)::"memory");
  at[0] = word_of(pattern, 0);
  at[512] = word_of(pattern, 512);
  at[1023] = word_of(pattern, 1023);
}

/// The first word from `from` up to `end` that is not as the template; `end` if there is none.
static uint32_t differing_word(const uint32_t* at, struct Pattern pattern, uint32_t from, uint32_t end) {
  const uint32_t* found = at + from;
  uint32_t count = end - from;
  bool equal;
  if (pattern.zero) {
    __asm__ volatile("repe scasl" : "+D"(found), "+c"(count), "=@ccz"(equal) : "a"(0) : "memory");
  } else {
    const uint32_t* expected = template_words + pattern.seed % PAGE_WORDS + from;
    __asm__ volatile("repe cmpsl" : "+D"(found), "+S"(expected), "+c"(count), "=@ccz"(equal)::"memory");
  }
  return equal ? end : end - count - 1;
}

static bool is_bad(const uint32_t* at, struct Pattern pattern, uint32_t word) {
  return ((const volatile uint32_t*)at)[word] != word_of(pattern, word);
}

/// The first word that is not as it must be; PAGE_WORDS if all are.
static uint32_t first_bad_word(const uint32_t* at, struct Pattern pattern) {
  if (task.stride != 1) {
    for (uint32_t word = 0; word < PAGE_WORDS; word += task.stride) {
      if (is_bad(at, pattern, word)) return word;
    }
    return PAGE_WORDS;
  }
  if (is_bad(at, pattern, 0)) return 0;
  const uint32_t first = differing_word(at, pattern, 1, 512);
  if (first != 512) return first;
  if (is_bad(at, pattern, 512)) return 512;
  const uint32_t second = differing_word(at, pattern, 513, 1023);
  if (second != 1023) return second;
  return is_bad(at, pattern, 1023) ? 1023 : PAGE_WORDS;
}

void note_error(unsigned cpu, uint32_t page, uint32_t word, uint32_t expected, uint32_t found, uint32_t generation) {
  volatile struct GuestCpuStatus* mine = &STATUS->cpu[cpu];
  if (mine->errors == 0) {
    mine->first_bad_page = page;
    mine->first_bad_word = word;
    mine->first_expected = expected;
    mine->first_found = found;
    mine->first_generation = generation;
    print("ERROR page ");
    print_hex(page);
    print(" word ");
    print_hex(word);
    print(" expected ");
    print_hex(expected);
    print(" found ");
    print_hex(found);
    print(" generation ");
    print_hex(generation);
    print("\n");
  }
  mine->errors = mine->errors + 1;
}

static void verify(unsigned cpu, const uint32_t* at, uint32_t page, uint32_t generation) {
  const struct Pattern pattern = pattern_of(page, generation);
  const uint32_t word = first_bad_word(at, pattern);
  if (word != PAGE_WORDS) note_error(cpu, page, word, word_of(pattern, word), at[word], generation);
  STATUS->cpu[cpu].pages_verified++;
}

/// Walks the pages of a list of areas that belong to one CPU: every cpus-th.
struct Sweep {
  const struct Area* areas;
  uint32_t count;
  uint32_t area;
  uint32_t offset;
  uint32_t step;
};

static struct Sweep sweep_of(const struct Area* areas, uint32_t count, unsigned cpu) {
  return (struct Sweep){areas, count, 0, cpu, STATUS->cpus};
}

/// The next page's number; false at the end, after which the sweep begins again.
static bool next_page(struct Sweep* sweep, uint32_t* page) {
  while (sweep->area < sweep->count) {
    const struct Area* area = &sweep->areas[sweep->area];
    if (sweep->offset < area->pages) {
      *page = area->first_page + sweep->offset;
      sweep->offset += sweep->step;
      return true;
    }
    sweep->offset -= area->pages;
    sweep->area++;
  }
  sweep->area = 0;
  sweep->offset %= sweep->step;
  return false;
}

static void fill_stripe(unsigned cpu, const struct Area* areas, uint32_t count, uint32_t generation) {
  struct Sweep sweep = sweep_of(areas, count, cpu);
  uint32_t page;
  while (next_page(&sweep, &page)) {
    fill(page_at(cpu, page), page, generation);
    STATUS->cpu[cpu].heartbeat++;
  }
}

/// Waits until the rate allows another page.
struct Pace {
  uint32_t last;
  uint64_t earned; /* ticks times rate */
};

/// Some microseconds in which nobody outside has to answer for the timer.
static void linger(void) {
  for (uint32_t i = 0; i < 200; ++i) __asm__ volatile("pause");
}

static void keep_pace(unsigned cpu, struct Pace* pace) {
  if (task.rate == 0) return;
  while (pace->earned < TIMER_TICKS_PER_SECOND) {
    const uint32_t now = timer_ticks();
    pace->earned += (uint64_t)((now - pace->last) & TIMER_MASK) * task.rate;
    pace->last = now;
    if (pace->earned >= TIMER_TICKS_PER_SECOND) break;
    if (cpu == 0 && task.disk) disk_serve();
    STATUS->cpu[cpu].heartbeat++;
    if (task.spin) linger();
    if (!task.spin) sleep();
  }
  // What could not be used within a tenth of a second is lost: no burst after a long pause.
  const uint64_t most = (uint64_t)TIMER_TICKS_PER_SECOND / 10 * task.rate + TIMER_TICKS_PER_SECOND;
  if (pace->earned > most) pace->earned = most;
  pace->earned -= TIMER_TICKS_PER_SECOND;
}

/// An idle guest: it writes nothing, and no interrupt wakes it.
static void __attribute__((noreturn)) halt_for_good(void) {
  for (;;) __asm__ volatile("cli; hlt");
}

void work(unsigned cpu) {
  volatile struct GuestCpuStatus* mine = &STATUS->cpu[cpu];
  if (task.high) enable_high_memory();
  if (task.rate != 0 && !task.spin) start_tick();
  uint32_t generation = 1;
  fill_stripe(cpu, task.cold, task.cold_count, COLD_GENERATION);
  fill_stripe(cpu, task.hot, task.hot_count, generation);
  touch_prepare(cpu);
  mine->passes = 1;
  struct Sweep hot = sweep_of(task.hot, task.hot_count, cpu);
  struct Sweep cold = sweep_of(task.cold, task.cold_count, cpu);
  struct Pace pace = {timer_ticks(), 0};
  uint32_t page;
  for (uint32_t turn = 0;; ++turn) {
    mine->heartbeat++;
    if (task.halt != 0 && mine->passes >= task.halt) halt_for_good();
    keep_pace(cpu, &pace);
    if (cpu == 0 && task.disk && turn % task.disk_pause == 0) disk_serve();
    if (cpu == 0) touch_one();
    const bool writing = task.passes == 0 || generation < task.passes;
    if (next_page(&hot, &page)) {
      uint32_t* at = page_at(cpu, page);
      verify(cpu, at, page, generation);
      if (writing) {
        fill(at, page, generation + 1);
        mine->pages_written++;
      }
    } else {
      if (writing) ++generation;
      mine->passes++;
    }
    if (task.cold_count != 0 && turn % HOT_PER_COLD == 0) {
      if (next_page(&cold, &page)) {
        verify(cpu, page_at(cpu, page), page, COLD_GENERATION);
      } else {
        mine->cold_passes++;
      }
    }
  }
}
