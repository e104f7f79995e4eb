// The screen, by the kernel's frame buffer: /dev/fb0, whichever driver is below it.
#include <fcntl.h>
#include <linux/fb.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

#include "commands.h"

namespace godwit::guest {
namespace {

constexpr const char* kFrameBuffer = "/dev/fb0";

/// Mapped for ever. What is wrong is in `failed`.
struct Screen {
  fb_var_screeninfo shape{};
  fb_fix_screeninfo memory{};
  std::uint32_t* pixels = nullptr;
  std::string failed;

  Screen() { failed = open(); }
  std::uint32_t* row(std::uint32_t y) const { return pixels + std::size_t{y} * memory.line_length / 4; }

 private:
  std::string open();
};

std::string Screen::open() {
  wait_for([] { return ::access(kFrameBuffer, F_OK) == 0; });
  const int file = ::open(kFrameBuffer, O_RDWR | O_CLOEXEC);
  if (file < 0 || ::ioctl(file, FBIOGET_VSCREENINFO, &shape) != 0 || ::ioctl(file, FBIOGET_FSCREENINFO, &memory) != 0) {
    return os_error(kFrameBuffer);
  }
  if (shape.bits_per_pixel != 32) return "error: a screen of " + std::to_string(shape.bits_per_pixel) + " bits";
  void* mapped =
      ::mmap(nullptr, std::size_t{memory.line_length} * shape.yres, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED) return os_error("map the screen");
  pixels = static_cast<std::uint32_t*>(mapped);
  return "";
}

Screen& the_screen() {
  static Screen screen;
  return screen;
}

}  // namespace

/// draw RRGGBB: the whole screen in that colour.
std::string draw(std::istringstream& line) {
  std::uint32_t colour = 0;
  line >> std::hex >> colour;
  Screen& screen = the_screen();
  if (!screen.failed.empty()) return screen.failed;
  for (std::uint32_t y = 0; y < screen.shape.yres; ++y) {
    std::fill(screen.row(y), screen.row(y) + screen.shape.xres, colour);
  }
  return "ok " + std::string(screen.memory.id);
}

/// The pixel in the middle, as the guest reads it back.
std::string screen(std::istringstream&) {
  Screen& screen = the_screen();
  if (!screen.failed.empty()) return screen.failed;
  char text[16];
  std::snprintf(text, sizeof(text), "ok %06x", screen.row(screen.shape.yres / 2)[screen.shape.xres / 2] & 0xffffff);
  return text;
}

}  // namespace godwit::guest
