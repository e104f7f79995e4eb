// The first CPU touches an area's pages in scattered order, and counts how long each took: what a page that is not
// there yet costs the guest. The pages hold random words, which neither a codec nor a twin makes smaller.
#include "guest.h"

#define LOOKED_AT 8u     /* words of a page that are checked, besides the first */
#define SCATTER 1000003u /* a prime: each page comes once before any comes again */

static uint32_t next_touch;

static uint32_t word_at(uint32_t page, uint32_t word) {
  uint32_t x = page * 0x9E3779B1u + word * 0x85EBCA6Bu + 0x3C6EF372u;
  x ^= x >> 15;
  x *= 0x2C1B3C6Du;
  return x ^ (x >> 13);
}

void touch_prepare(unsigned cpu) {
  for (uint32_t i = cpu; i < task.touch.pages; i += STATUS->cpus) {
    const uint32_t page = task.touch.first_page + i;
    volatile uint32_t* at = page_at(cpu, page);
    for (uint32_t word = 0; word < PAGE_WORDS; ++word) at[word] = word_at(page, word);
    STATUS->cpu[cpu].heartbeat++;
  }
}

static bool all_are_prepared(void) {
  for (uint32_t i = 0; i < STATUS->cpus; ++i) {
    if (STATUS->cpu[i].passes == 0) return false;
  }
  return true;
}

void touch_one(void) {
  if (task.touch.pages == 0 || !all_are_prepared()) return;
  const uint32_t page = task.touch.first_page + (uint32_t)((uint64_t)next_touch * SCATTER % task.touch.pages);
  if (++next_touch == task.touch.pages) next_touch = 0;
  const volatile uint32_t* at = page_at(0, page);
  const uint32_t before = timer_ticks();
  const uint32_t first = at[0];
  const uint32_t ticks = (timer_ticks() - before) & TIMER_MASK;
  STATUS->touch.buckets[guest_touch_bucket(ticks)]++;
  STATUS->touch.touches++;
  if (first != word_at(page, 0)) note_error(0, page, 0, word_at(page, 0), first, 0);
  for (uint32_t word = 1; word < PAGE_WORDS; word += PAGE_WORDS / LOOKED_AT) {
    if (at[word] != word_at(page, word)) note_error(0, page, word, word_at(page, word), at[word], 0);
  }
}
