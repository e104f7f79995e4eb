// What the parts of the bare-metal guest know of each other.
//
//   start.S --> main.c reads the command line --> smp.c starts the other CPUs
//                        each CPU: work.c writes and verifies its stripe; the first also serves disk.c and touch.c
//
// General registers only, no interrupts but a timer that ends a hlt when the guest is told to go slowly.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "status.h"

#define PAGE_SIZE 4096u
#define PAGE_WORDS 1024u
#define MAX_AREAS 8u

// ---- x86.h in small
static inline void out8(uint16_t port, uint8_t value) {
  __asm__ volatile("outb %0, %1" ::"a"(value), "Nd"(port));
}
static inline void out16(uint16_t port, uint16_t value) {
  __asm__ volatile("outw %0, %1" ::"a"(value), "Nd"(port));
}
static inline void out32(uint16_t port, uint32_t value) {
  __asm__ volatile("outl %0, %1" ::"a"(value), "Nd"(port));
}
static inline uint8_t in8(uint16_t port) {
  uint8_t value;
  __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint16_t in16(uint16_t port) {
  uint16_t value;
  __asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
static inline uint32_t in32(uint16_t port) {
  uint32_t value;
  __asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
  return value;
}
/// Keeps the compiler from moving memory accesses across; x86 itself keeps the orders that matter here.
static inline void compiler_barrier(void) {
  __asm__ volatile("" ::: "memory");
}
static inline void full_barrier(void) {
  __asm__ volatile("lock orl $0, (%%esp)" ::: "memory", "cc");
}

// ---- console.c: the first serial port
void print(const char* text);
void print_hex(uint32_t value);
/// "what: value", and the guest stands for good; its status says GUEST_STUCK.
void stuck(const char* what, uint32_t value) __attribute__((noreturn));

// ---- clock.c: the ACPI timer (3.579545 MHz, 24 bits), which counts the guest's own time
uint32_t timer_ticks(void);
#define TIMER_MASK 0xFFFFFFu
#define TIMER_TICKS_PER_SECOND 3579545u
void spin(uint32_t microseconds);
/// Turns on this CPU's tick of 1 ms, so that sleep() ends.
void start_tick(void);
void sleep(void);

// ---- memory.c: pages by number, above 4 GiB too
void prepare_high_memory(void);  ///< once, before the other CPUs work
void enable_high_memory(void);   ///< on each CPU, before any page above 3 GiB is touched
/// The page's bytes, until this CPU asks for another.
uint32_t* page_at(unsigned cpu, uint32_t page);

// ---- main.c: what the command line asked for
struct Area {
  uint32_t first_page;
  uint32_t pages;
};
struct Task {
  struct Area hot[MAX_AREAS];  ///< written and verified all the time
  uint32_t hot_count;
  struct Area cold[MAX_AREAS];  ///< written once, then verified, one page for every HOT_PER_COLD hot ones
  uint32_t cold_count;
  struct Area pool;     ///< disk buffers
  struct Area touch;    ///< written once, then touched by the first CPU, a page each time that it writes one
  uint32_t cpus;        ///< wanted
  uint32_t rate;        ///< page writes a second on each CPU; 0: as fast as it goes
  uint32_t passes;      ///< after so many only verify; 0: write for ever
  uint32_t halt;        ///< after so many passes do nothing any more, for ever; 0: never
  uint32_t stride;      ///< every so many words of a page carry the pattern
  uint32_t zero_every;  ///< of the pages, one in so many is all zeros in every second generation; 0: none
  bool soft;            ///< the pattern compresses to about a quarter
  bool spin;            ///< keeps its rate without hlt, which some KVMs that run in a VM do not get out of again
  bool disk;
  bool high;            ///< some area lies above 3 GiB
  uint32_t disk_pause;  ///< disk is served once in so many hot pages
};
extern struct Task task;
#define STATUS ((volatile struct GuestStatus*)GUEST_STATUS_ADDRESS)

// ---- smp.c
void start_cpus(void);  ///< counts those that work into the status page
void release_cpus(void);

// ---- work.c
void make_template(void);  ///< once, before any CPU works
void work(unsigned cpu) __attribute__((noreturn));

void note_error(unsigned cpu, uint32_t page, uint32_t word, uint32_t expected, uint32_t found, uint32_t generation);

// ---- touch.c
void touch_prepare(unsigned cpu);
void touch_one(void);

// ---- disk.c: one virtio-blk (legacy interface), 16 reads in flight
void disk_start(void);
void disk_serve(void);
