// Pages by number. Addresses have 32 bits, guest RAM may not.
#include "guest.h"

// Below 3 GiB a page's address is its number times 4096, with or without paging. Above, each CPU has a window of 2 MiB
// of its own in the address space, where nothing is on these machines, and moves it as it goes.
#define LOW_PAGES 0xC0000u
#define WINDOWS 0xC0000000u
#define WINDOW_SIZE 0x200000u
#define WINDOW_PAGES 512u
#define PRESENT_WRITABLE_LARGE 0x83u

static uint64_t directories[4][512] __attribute__((aligned(4096)));
static uint64_t directory_pointers[4] __attribute__((aligned(32)));
static uint32_t window_of[GUEST_MAX_CPUS];

void prepare_high_memory(void) {
  for (uint32_t i = 0; i < 4 * 512; ++i) {
    directories[i / 512][i % 512] = (uint64_t)i * WINDOW_SIZE | PRESENT_WRITABLE_LARGE;
  }
  for (uint32_t i = 0; i < 4; ++i) directory_pointers[i] = (uint32_t)directories[i] | 1;
}

void enable_high_memory(void) {
  __asm__ volatile(
      "movl %%cr4, %%eax; orl $0x30, %%eax; movl %%eax, %%cr4;"  // large pages, PAE
      "movl %0, %%cr3;"
      "movl %%cr0, %%eax; orl $0x80000000, %%eax; movl %%eax, %%cr0" ::"r"(directory_pointers)
      : "eax", "memory");
}

uint32_t* page_at(unsigned cpu, uint32_t page) {
  if (page < LOW_PAGES) return (uint32_t*)(page * PAGE_SIZE);
  const uint32_t window = page / WINDOW_PAGES;
  const uint32_t address = WINDOWS + cpu * WINDOW_SIZE;
  if (window_of[cpu] != window) {
    directories[3][cpu] = (uint64_t)window * WINDOW_SIZE | PRESENT_WRITABLE_LARGE;
    __asm__ volatile("invlpg (%0)" ::"r"(address) : "memory");
    window_of[cpu] = window;
  }
  return (uint32_t*)(address + page % WINDOW_PAGES * PAGE_SIZE);
}
