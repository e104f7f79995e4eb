// Time as the guest sees it: it stands while the guest stands. And a tick, which only ends a hlt.
#include "guest.h"

#define ACPI_TIMER 0x608u /* where SeaBIOS puts it on both pc and q35 */
#define LOCAL_APIC ((volatile uint32_t*)0xFEE00000u)
#define TICK_VECTOR 0x40u
#define SPURIOUS_VECTOR 0xFFu

struct Gate {
  uint16_t low;
  uint16_t selector;
  uint16_t type;
  uint16_t high;
};
static struct Gate gates[256];

void timer_interrupt(void);
void spurious_interrupt(void);

uint32_t timer_ticks(void) {
  return in32(ACPI_TIMER) & TIMER_MASK;
}

void spin(uint32_t microseconds) {
  const uint32_t wanted = microseconds * 4;  // 3.58 ticks a microsecond, rounded up
  const uint32_t start = timer_ticks();
  while (((timer_ticks() - start) & TIMER_MASK) < wanted) {
  }
}

static void set_gate(unsigned vector, void (*handler)(void)) {
  const uint32_t address = (uint32_t)handler;
  gates[vector] = (struct Gate){(uint16_t)address, 0x08, 0x8E00, (uint16_t)(address >> 16)};
}

void start_tick(void) {
  set_gate(TICK_VECTOR, timer_interrupt);
  set_gate(SPURIOUS_VECTOR, spurious_interrupt);
  const struct {
    uint16_t limit;
    uint32_t base;
  } __attribute__((packed)) pointer = {sizeof(gates) - 1, (uint32_t)gates};
  __asm__ volatile("lidt %0" ::"m"(pointer));
  out8(0x21, 0xFF);  // the old interrupt controllers stay silent
  out8(0xA1, 0xFF);
  LOCAL_APIC[0xF0 / 4] = 0x100 | SPURIOUS_VECTOR;
  LOCAL_APIC[0x3E0 / 4] = 0xB;                    // divide by 1
  LOCAL_APIC[0x320 / 4] = 0x20000 | TICK_VECTOR;  // periodic
  LOCAL_APIC[0x380 / 4] = 1000000;                // QEMU's and KVM's APIC timer counts nanoseconds
}

void sleep(void) {
  __asm__ volatile("sti; hlt; cli" ::: "memory");
}
