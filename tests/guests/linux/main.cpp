// The init of the Linux test guest: the only program in it, unless redis is wanted.
//
// It loads the virtio modules, brings the network up, fills memory as the kernel command line says, and then does two
// things for ever: verify and rewrite that memory (checker.h), and answer on TCP (server.h).
//
//   godwit.ip=10.77.0.2/24   its address on eth0            godwit.port=7777     where it answers
//   godwit.content=64        MiB of real files' content     godwit.random=16     MiB of random bytes
//   godwit.freed=64          MiB filled, then freed         godwit.area=32       MiB that are rewritten
//   godwit.load=inplace      idle, inplace, pages, random   godwit.rate=1000     pages rewritten per second
//   godwit.check=16          MiB verified per second        godwit.probe=1       say hello and power off
//   godwit.redis=0           MiB that redis holds; load redis then sets godwit.rate keys per second
#include <cstdio>
#include <thread>

#include "checker.h"
#include "server.h"
#include "system.h"

namespace {

using namespace godwit::guest;

constexpr std::size_t kPagesPerMebibyte = (std::size_t{1} << 20) / kPageSize;
// What redis needs for a record, its key and its own books. Measured: INFO's used_memory over the keys.
constexpr std::uint64_t kRedisBytesPerKey = 810;

constexpr const char* kContentDisk = "/dev/vda";

CheckerSetup setup_from(const Settings& settings) {
  const auto pages = [&settings](const char* name, std::uint64_t otherwise) {
    return static_cast<std::size_t>(settings.number(name, otherwise)) * kPagesPerMebibyte;
  };
  CheckerSetup setup;
  setup.content_pages = pages("content", 64);
  setup.random_pages = pages("random", 16);
  setup.writer_pages = pages("area", 32);
  setup.freed_pages = pages("freed", 64);
  setup.checked_pages_per_second = pages("check", 16);
  setup.rate = settings.number("rate", 1000);
  setup.redis_keys = static_cast<std::uint32_t>((settings.number("redis", 0) << 20) / kRedisBytesPerKey);
  setup.disk = kContentDisk;
  if (!parse_load(settings.text("load", "idle"), setup.load)) {
    std::printf("GODWIT-GUEST unknown load, staying idle\n");
  }
  return setup;
}

bool run() {
  if (!mount_basics()) {
    std::perror("GODWIT-GUEST mount");
    return false;
  }
  const Settings settings = Settings::from_kernel();
  std::printf("GODWIT-GUEST UP\n");
  std::fflush(stdout);
  if (settings.number("probe", 0) != 0 || !load_modules("/modules.list") || !wait_for_file(kContentDisk) ||
      !bring_up_network(settings.text("ip", "10.77.0.2/24"))) {
    return false;
  }
  static Checker checker;
  if (!checker.prepare(setup_from(settings))) {
    return false;
  }
  std::thread([] { checker.run(); }).detach();
  serve(static_cast<std::uint16_t>(settings.number("port", 7777)), checker);
  return false;
}

}  // namespace

int main() {
  run();
  std::printf("GODWIT-GUEST DOWN\n");
  std::fflush(stdout);
  power_off();
}
