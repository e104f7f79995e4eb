// The file into which QEMU saves its devices, with arbitrary bytes in it and an arbitrary answer of QEMU's monitor:
// what becomes a stream for the other QEMU, where the guest's clock is found, and which run state.
//
//   input   | how | answer to add-fd: 1 length, bytes | edits | cut (2 bytes) | content ...
//   how       bit 0: the content lies between the beginning and the end that QEMU writes       bit 1: behind a section
//             "timer"      bit 2: before a section "globalstate"      bit 3: QEMU refuses to save
//
// What must hold: what is not whole is refused; what is taken is the file without its beginning; and what comes in
// pieces means what it means at once.
#include "vmm/qemu/saved_devices.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "fuzz/input.h"
#include "tests/vmm/stream_builder.h"
#include "vmm/qemu/device_file.h"
#include "vmm/qemu/global_state.h"

namespace {

using namespace godwit;
using testing::StreamBuilder;

/// A monitor that writes the file as it is told.
class SavingQmp final : public qemu::Qmp {
 public:
  SavingQmp(qemu::Json added, Bytes content, bool refuses)
      : added_(std::move(added)), content_(content), refuses_(refuses) {}

  Result<qemu::Json> execute(std::string_view command, const qemu::Json&) override {
    if (command != "xen-save-devices-state") return qemu::Json::object();
    check(static_cast<bool>(lent_));
    if (refuses_) return fail(ErrorKind::kHypervisor, "no");
    for (Bytes rest = content_; !rest.empty();) {
      const ssize_t done = ::write(lent_.get(), rest.data(), rest.size());
      check(done > 0);
      rest = rest.subspan(static_cast<std::size_t>(done));
    }
    return qemu::Json::object();
  }
  Result<qemu::Json> execute_with_descriptor(std::string_view, const qemu::Json&, int fd) override {
    lent_ = UniqueFd(::dup(fd));
    return added_;
  }
  void on_event(OnEvent) override {}
  void on_lost(std::function<void()>) override {}
  pid_t peer_pid() const noexcept override { return 0; }

 private:
  qemu::Json added_;
  Bytes content_;
  bool refuses_;
  UniqueFd lent_;
};

std::vector<std::byte> content_of(Input& input, unsigned how) {
  StreamBuilder built;
  if ((how & 1) != 0) built.header();
  if ((how & 2) != 0) {
    built.be(4, 1).be(7, 4).text("timer").be(0, 4).be(2, 4).be(1, 8).be(0, 8).be(123456789, 8).be(0x7e, 1).be(7, 4);
  }
  StreamBuilder behind;
  if ((how & 4) != 0) {
    behind.be(4, 1).be(9, 4).text("globalstate").be(0, 4).be(1, 4).be(100, 4).raw("running");
    behind.raw(std::string(93, '\0')).be(0x7e, 1).be(9, 4);
  }
  if ((how & 1) != 0) behind.be(0x7e, 1).be(9, 4).be(0, 1);
  std::vector<std::byte> content(built.bytes().begin(), built.bytes().end());
  std::vector<std::byte> end(behind.bytes().begin(), behind.bytes().end());
  (void)edit(end, input);
  const std::size_t cut = input.two_bytes();
  const Bytes middle = input.rest();
  content.insert(content.end(), middle.begin(), middle.end());
  content.insert(content.end(), end.begin(), end.end());
  if (cut != 0 && !content.empty()) content.resize(content.size() - cut % content.size());
  return content;
}

void check_sections(Bytes file) {
  const auto sections = qemu::saved_sections(file);
  if (!sections) {
    check(sections.error().kind == ErrorKind::kHypervisor && !sections.error().message.empty());
    return;
  }
  // Magic and version, 8 bytes; footer, number and end, 6.
  check(sections->data() == file.data() + 8 && sections->size() == file.size() - 8);
  check(sections->size() >= 6 && sections->front() == std::byte{4} && sections->back() == std::byte{0});
  check((*sections)[sections->size() - 6] == std::byte{0x7e});
}

void check_clock(Bytes file) {
  const auto clock = qemu::virtual_clock_in(file);
  if (!clock) return;
  const auto at = text_of(file).find("\x05timer");
  check(at != std::string_view::npos && file.size() - at >= 6 + 4 + 4 + 8 + 8 + 8);
}

void check_global_state(Bytes file, std::size_t piece) {
  qemu::GlobalState whole;
  whole.feed(file);
  qemu::GlobalState pieces;
  for (Bytes rest = file; !rest.empty();) {
    const Bytes next = rest.first(std::min(piece, rest.size()));
    pieces.feed(next);
    rest = rest.subspan(next.size());
  }
  check(whole.contradicts_itself() == pieces.contradicts_itself());
  check(whole.run_state() == pieces.run_state());
  check(!(whole.contradicts_itself() && whole.run_state()));
  if (whole.run_state()) check(whole.run_state()->size() <= 100);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Input input(data, size);
  const unsigned how = input.byte();
  const Bytes answer = input.bytes(input.byte());
  const auto added =
      answer.empty() ? qemu::Json{{"fdset-id", 3}, {"fd", 30}} : qemu::Json::parse(text_of(answer), nullptr, false);
  const std::size_t piece = 1 + answer.size();
  const std::vector<std::byte> content = content_of(input, how);
  const bool refuses = (how & 8) != 0;
  SavingQmp qmp(added, content, refuses);
  auto file = qemu::DeviceFile::lend(qmp);
  check(file.has_value());
  const auto saved = qemu::save_devices(qmp, *file, true);
  check(saved.has_value() == !refuses);
  if (saved) check(*saved == content);
  file->take_back();
  check_sections(content);
  check_clock(content);
  check_global_state(content, piece);
  return 0;
}
