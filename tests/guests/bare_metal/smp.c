// Starts the other CPUs by INIT and start-up IPIs, and holds them until the first CPU has prepared everything.
#include "guest.h"

#define LOCAL_APIC ((volatile uint32_t*)0xFEE00000u)
#define TRAMPOLINE 0x8000u
#define TO_ALL_OTHERS 0xC0000u

extern char trampoline[], trampoline_end[];
extern volatile uint32_t next_cpu;
void secondary_main(unsigned cpu);

static volatile uint32_t arrived;
static volatile uint32_t released;

void secondary_main(unsigned cpu) {
  __asm__ volatile("lock incl %0" : "+m"(arrived)::"memory", "cc");
  while (!released) __asm__ volatile("pause");
  // One that came after its turn must not work on a stripe that nobody counts.
  if (cpu >= STATUS->cpus) {
    for (;;) __asm__ volatile("cli; hlt");
  }
  work(cpu);
}

void start_cpus(void) {
  if (task.cpus > 1) {
    for (uint32_t i = 0; i < (uint32_t)(trampoline_end - trampoline); ++i) {
      ((volatile char*)TRAMPOLINE)[i] = trampoline[i];
    }
    LOCAL_APIC[0xF0 / 4] |= 0x100;
    LOCAL_APIC[0x300 / 4] = TO_ALL_OTHERS | 0x4500;  // INIT
    spin(10000);
    for (int i = 0; i < 2; ++i) {
      LOCAL_APIC[0x300 / 4] = TO_ALL_OTHERS | 0x4600 | (TRAMPOLINE >> 12);  // start-up
      spin(200);
    }
    for (int i = 0; i < 3000 && arrived + 1 < task.cpus; ++i) spin(1000);
    if (arrived + 1 < task.cpus) stuck("CPUs that did not start", task.cpus - 1 - arrived);
  }
  STATUS->cpus = task.cpus;
}

void release_cpus(void) {
  released = 1;
}
