#include "tests/integration/device_checks.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace godwit::testing {
namespace {

tl::unexpected<Error> instead(const std::string& what) {
  return fail(ErrorKind::kProtocol, what);
}

/// The number behind "NAME=" in an answer.
std::uint64_t number_in(const std::string& answer, const std::string& name) {
  const auto at = (" " + answer).find(" " + name + "=");
  return at == std::string::npos ? 0 : std::strtoull(answer.c_str() + at + name.size() + 1, nullptr, 10);
}

class DiskCheck : public DeviceCheck {
 public:
  DiskCheck(const std::string& name, unsigned mebibytes) : DeviceCheck(name), mebibytes_(mebibytes) {}
  Status before(DeviceGuest& guest, unsigned move) override {
    seed_ = 1000 * (move + 1) + mebibytes_;
    TRY(guest.ask(fmt::format("disk-write {} {}", mebibytes_, seed_)));
    TRY(guest.ask(fmt::format("disk-check {} {}", mebibytes_, seed_)));
    TRY(guest.ask(fmt::format("disk-busy {}", mebibytes_)));
    return {};
  }
  Status after(DeviceGuest& guest, unsigned) override {
    TRY(guest.ask(fmt::format("disk-rest {}", mebibytes_)));
    TRY(guest.ask(fmt::format("disk-check {} {}", mebibytes_, seed_)));
    TRY(guest.ask(fmt::format("disk-write {} {}", mebibytes_, seed_ + 500)));
    TRY(guest.ask(fmt::format("disk-check {} {}", mebibytes_, seed_ + 500)));
    return {};
  }

 private:
  unsigned mebibytes_;
  unsigned seed_ = 0;
};

class NetworkCheck : public DeviceCheck {
 public:
  NetworkCheck(const std::string& name, unsigned number)
      : DeviceCheck(name), mac_(fmt::format("52:54:00:00:00:{:02x}", number)), net_(fmt::format("10.0.{}", number)) {}
  Status set_up(DeviceGuest& guest) override {
    TRY(guest.ask(fmt::format("net-up {} {}.15", mac_, net_)));
    return {};
  }
  Status before(DeviceGuest& guest, unsigned) override { return ping(guest); }
  Status after(DeviceGuest& guest, unsigned) override { return ping(guest); }

 private:
  Status ping(DeviceGuest& guest) {
    TRY(guest.ask(fmt::format("ping {} {}.2", mac_, net_)));
    return {};
  }
  std::string mac_, net_;
};

class RandomCheck : public DeviceCheck {
 public:
  RandomCheck() : DeviceCheck("rng") {}
  Status before(DeviceGuest& guest, unsigned) override { return read(guest); }
  Status after(DeviceGuest& guest, unsigned) override { return read(guest); }

 private:
  Status read(DeviceGuest& guest) {
    const std::string bytes = TRY(guest.ask("random"));
    if (bytes.size() != 128) return instead("not 64 bytes: " + bytes);
    if (bytes == last_) return instead("the same bytes again: " + bytes);
    last_ = bytes;
    return {};
  }
  std::string last_;
};

class BalloonCheck : public DeviceCheck {
 public:
  BalloonCheck() : DeviceCheck("balloon") {}
  Status before(DeviceGuest& guest, unsigned) override {
    full_ = std::max(full_, TRY(total(guest)));
    return inflate(guest, 48 * kMiB);
  }
  Status after(DeviceGuest& guest, unsigned) override {
    const std::uint64_t found = TRY(total(guest)), wanted = full_ - 48 * kMiB;
    if (found != wanted) return instead(fmt::format("{} bytes after the move, not {}", found, wanted));
    TRY(inflate(guest, 16 * kMiB));
    return inflate(guest, 0);
  }

 private:
  static Result<std::uint64_t> total(DeviceGuest& guest) {
    return std::strtoull(TRY(guest.ask("memory")).c_str(), nullptr, 10) * kKiB;
  }
  Status inflate(DeviceGuest& guest, std::uint64_t bytes) {
    const std::uint64_t size = guest.qemu().options().size - bytes;
    TRY(guest.qemu().monitor().execute("balloon", {{"value", size}}));
    std::uint64_t found = 0;
    const auto as_told = [&] { return (found = total(guest).value_or(0)) == full_ - bytes; };
    if (!wait_until(as_told, seconds(60))) {
      return instead(fmt::format("told to give {} bytes of {} away it has {}", bytes, full_, found));
    }
    // The guest tells it afterwards.
    std::uint64_t actual = 0;
    const auto told = [&] {
      const auto answer = guest.qemu().monitor().execute("query-balloon");
      return (actual = answer ? answer->value("actual", std::uint64_t{0}) : 0) == size;
    };
    return wait_until(told, seconds(20)) ? Status{} : instead(fmt::format("QEMU says {}, not {}", actual, size));
  }
  std::uint64_t full_ = 0;
};

class PortCheck : public DeviceCheck {
 public:
  PortCheck() : DeviceCheck("port") {}
  Status before(DeviceGuest& guest, unsigned move) override {
    if (!host_) host_ = std::make_unique<LineSocket>(TRY(LineSocket::connect(guest.own() / "port")));
    TRY(exchange(guest, fmt::format("before{}", move)));
    return host_->send(fmt::format("held{}", move));
  }
  Status after(DeviceGuest& guest, unsigned move) override {
    host_ = std::make_unique<LineSocket>(TRY(LineSocket::connect(guest.own() / "port")));
    const std::string held = TRY(guest.ask("port-receive"));
    if (held != fmt::format("held{}", move)) return instead("what was sent before the move arrives as " + held);
    return exchange(guest, fmt::format("after{}", move));
  }

 private:
  Status exchange(DeviceGuest& guest, const std::string& word) {
    // The guest opens its port when it first uses it; what is sent to one that is closed is lost.
    TRY(guest.ask("port-send to-host-" + word));
    TRY(host_->receive("to-host-" + word, seconds(30)));
    TRY(host_->send("to-guest-" + word));
    const std::string got = TRY(guest.ask("port-receive"));
    return got == "to-guest-" + word ? Status{} : instead("the guest received " + got);
  }
  std::unique_ptr<LineSocket> host_;
};

class ScreenCheck : public DeviceCheck {
 public:
  ScreenCheck() : DeviceCheck("screen") {}
  Status before(DeviceGuest& guest, unsigned move) override {
    colour_ = move % 2 == 0 ? "c02040" : "2040c0";
    TRY(guest.ask("draw " + colour_));
    return expect_shown(guest, colour_);
  }
  Status after(DeviceGuest& guest, unsigned) override {
    TRY_IN("the picture of before", expect_shown(guest, colour_));
    const std::string read = TRY(guest.ask("screen"));
    if (read != colour_) return instead("the guest reads " + read);
    TRY(guest.ask("draw 20c040"));
    return expect_shown(guest, "20c040");
  }

 private:
  /// The middle of what QEMU shows.
  static Result<std::string> shown(DeviceGuest& guest) {
    const auto path = guest.own() / "screen.ppm";
    TRY(guest.qemu().monitor().execute("screendump", {{"filename", path.string()}}));
    std::ifstream in(path, std::ios::binary);
    std::string kind;
    std::size_t width = 0, height = 0, most = 0;
    in >> kind >> width >> height >> most;
    in.get();
    if (kind != "P6" || width == 0) return instead("not a picture");
    in.seekg(static_cast<std::streamoff>((height / 2 * width + width / 2) * 3), std::ios::cur);
    unsigned char pixel[3] = {};
    in.read(reinterpret_cast<char*>(pixel), sizeof(pixel));
    return fmt::format("{:02x}{:02x}{:02x} ({} x {})", pixel[0], pixel[1], pixel[2], width, height);
  }
  static Status expect_shown(DeviceGuest& guest, const std::string& colour) {
    std::string last;
    const auto as_wanted = [&] {
      const auto now = shown(guest);
      last = now ? *now : now.error().message;
      return last.starts_with(colour);
    };
    return wait_until(as_wanted, seconds(20)) ? Status{} : instead("QEMU shows " + last + ", not " + colour);
  }
  std::string colour_;
};

/// What is sent, and how Linux calls it.
class InputCheck : public DeviceCheck {
 public:
  InputCheck(const std::string& kind, const std::string& device)
      : DeviceCheck(kind + " " + device), kind_(kind), device_(device) {}
  Status set_up(DeviceGuest& guest) override { return forget(guest); }
  Status before(DeviceGuest& guest, unsigned) override { return use(guest); }
  Status after(DeviceGuest& guest, unsigned) override { return use(guest); }

 private:
  Status forget(DeviceGuest& guest) {
    TRY(guest.ask("input-forget " + device_));
    return {};
  }
  Status use(DeviceGuest& guest) {
    TRY(forget(guest));
    ++times_;
    const int place = 10000 + 1111 * times_;
    std::string question, value;
    if (kind_ == "keyboard") {
      TRY(key(guest, true));
      question = "input 1 30", value = "1 ";
    } else if (kind_ == "tablet") {
      TRY(move(guest, "abs", place));
      question = "input 3 0", value = fmt::format("{} ", place);
    } else {
      TRY(move(guest, "rel", 5));
      question = "input 2 0";
    }
    const auto answer = guest.ask(question);
    if (kind_ == "keyboard") TRY(key(guest, false));
    if (!answer) return fail(answer.error());
    if (!answer->starts_with(value) || answer->find(device_) == answer->npos) return instead("it came as " + *answer);
    return {};
  }
  static Status send(DeviceGuest& guest, const Json& event) {
    TRY(guest.qemu().monitor().execute("input-send-event", {{"events", Json::array({event})}}));
    return {};
  }
  static Status key(DeviceGuest& guest, bool down) {
    return send(guest, {{"type", "key"}, {"data", {{"down", down}, {"key", {{"type", "qcode"}, {"data", "a"}}}}}});
  }
  static Status move(DeviceGuest& guest, const char* type, int by) {
    return send(guest, {{"type", type}, {"data", {{"axis", "x"}, {"value", by}}}});
  }
  std::string kind_, device_;
  int times_ = 0;
};

class TpmCheck : public DeviceCheck {
 public:
  TpmCheck() : DeviceCheck("tpm") {}
  Status before(DeviceGuest& guest, unsigned move) override { return extend(guest, 2 * move + 1); }
  Status after(DeviceGuest& guest, unsigned move) override {
    const std::string found = TRY(guest.ask("tpm-read 16"));
    if (found != value_) return instead(found + " after the move, not " + value_);
    return extend(guest, 2 * move + 2);
  }

 private:
  Status extend(DeviceGuest& guest, unsigned by) {
    const std::string now = TRY(guest.ask(fmt::format("tpm-extend 16 {}", by)));
    if (now.size() != 64 || now == value_) return instead("extended it is " + now);
    value_ = now;
    return {};
  }
  std::string value_;
};

class VariableCheck : public DeviceCheck {
 public:
  VariableCheck() : DeviceCheck("firmware variable") {}
  Status before(DeviceGuest& guest, unsigned move) override { return write(guest, fmt::format("before{}", move)); }
  Status after(DeviceGuest& guest, unsigned move) override {
    TRY(expect(guest));
    return write(guest, fmt::format("after{}", move));
  }

 private:
  Status write(DeviceGuest& guest, const std::string& text) {
    text_ = text;
    TRY(guest.ask("variable-write " + text));
    return expect(guest);
  }
  Status expect(DeviceGuest& guest) {
    const std::string found = TRY(guest.ask("variable-read"));
    return found == text_ ? Status{} : instead("it is " + found + ", not " + text_);
  }
  std::string text_;
};

class RtcCheck : public DeviceCheck {
 public:
  RtcCheck() : DeviceCheck("rtc") {}
  Status before(DeviceGuest& guest, unsigned) override { return ticks(guest); }
  Status after(DeviceGuest& guest, unsigned) override { return ticks(guest); }

 private:
  static Status ticks(DeviceGuest& guest) {
    TRY(guest.ask("rtc-ticks 2"));
    return {};
  }
};

class ClockCheck : public DeviceCheck {
 public:
  explicit ClockCheck(const std::string& name) : DeviceCheck("clock " + name), source_(name) {}
  Status set_up(DeviceGuest& guest) override {
    TRY(guest.ask("clock-source " + source_));
    return {};
  }
  Status before(DeviceGuest& guest, unsigned) override { return look(guest); }
  Status after(DeviceGuest& guest, unsigned) override { return look(guest); }

 private:
  Status look(DeviceGuest& guest) {
    const std::string clocks = TRY(guest.ask("clocks"));
    if (clocks.find("source=" + source_) == clocks.npos) return instead("it keeps time by another: " + clocks);
    const auto now = number_in(clocks, "monotonic");
    if (now <= last_) return instead(fmt::format("{} ns, and before the move {}", now, last_));
    last_ = now;
    const auto slept = std::strtoull(TRY(guest.ask("nap 100")).c_str(), nullptr, 10);
    return slept >= 100 && slept < 20'000 ? Status{} : instead(fmt::format("100 ms took {} ms", slept));
  }
  std::string source_;
  std::uint64_t last_ = 0;
};

class CpusCheck : public DeviceCheck {
 public:
  explicit CpusCheck(unsigned number) : DeviceCheck("cpus"), number_(number) {}
  Status after(DeviceGuest& guest, unsigned) override {
    const std::string found = TRY(guest.ask("cpus"));
    return found == std::to_string(number_) ? Status{} : instead(found + " CPUs");
  }

 private:
  unsigned number_;
};

}  // namespace

std::unique_ptr<DeviceCheck> disk(const std::string& name, unsigned mebibytes) {
  return std::make_unique<DiskCheck>("disk " + name, mebibytes);
}
std::unique_ptr<DeviceCheck> network_card(const std::string& name, unsigned number) {
  return std::make_unique<NetworkCheck>("network card " + name, number);
}
std::unique_ptr<DeviceCheck> random_source() {
  return std::make_unique<RandomCheck>();
}
std::unique_ptr<DeviceCheck> balloon() {
  return std::make_unique<BalloonCheck>();
}
std::unique_ptr<DeviceCheck> port() {
  return std::make_unique<PortCheck>();
}
std::unique_ptr<DeviceCheck> screen() {
  return std::make_unique<ScreenCheck>();
}
std::unique_ptr<DeviceCheck> keyboard(const std::string& device) {
  return std::make_unique<InputCheck>("keyboard", device);
}
std::unique_ptr<DeviceCheck> tablet(const std::string& device) {
  return std::make_unique<InputCheck>("tablet", device);
}
std::unique_ptr<DeviceCheck> mouse(const std::string& device) {
  return std::make_unique<InputCheck>("mouse", device);
}
std::unique_ptr<DeviceCheck> tpm() {
  return std::make_unique<TpmCheck>();
}
std::unique_ptr<DeviceCheck> firmware_variable() {
  return std::make_unique<VariableCheck>();
}
std::unique_ptr<DeviceCheck> rtc() {
  return std::make_unique<RtcCheck>();
}
std::unique_ptr<DeviceCheck> clock_source(const std::string& name) {
  return std::make_unique<ClockCheck>(name);
}
std::unique_ptr<DeviceCheck> cpus(unsigned number) {
  return std::make_unique<CpusCheck>(number);
}

}  // namespace godwit::testing
