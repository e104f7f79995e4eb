// Text on the first serial port, and the end of a guest that cannot go on.
#include "guest.h"

#define SERIAL 0x3F8u

static void print_char(char c) {
  // A bound, because there may be no serial port.
  for (int i = 0; i < 10000 && (in8(SERIAL + 5) & 0x20) == 0; ++i) {
  }
  out8(SERIAL, (uint8_t)c);
}

void print(const char* text) {
  for (; *text != 0; ++text) print_char(*text);
}

void print_hex(uint32_t value) {
  print("0x");
  for (int shift = 28; shift >= 0; shift -= 4) print_char("0123456789abcdef"[(value >> shift) & 15]);
}

void stuck(const char* what, uint32_t value) {
  print("stuck: ");
  print(what);
  print(": ");
  print_hex(value);
  print("\n");
  STATUS->state = GUEST_STUCK;
  for (;;) __asm__ volatile("cli; hlt");
}
