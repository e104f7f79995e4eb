// Intel QAT by QATzip.
//
// QATzip's calls return when the device is done, so a few threads wait for it (request_crew.h). A call has a stream of
// its own, in requests of 4 KiB each: a QAT device looks for matches in all of a request, up to 32 KiB back, and the
// library lets nobody tell it to look less far. After each request the library ends a deflate block at a whole byte, so
// the answers make up one stream.
//
// The library does a call by software where it likes to: below a threshold, without a device, without an instance. It
// says QZ_OK then. So it is started without its software, and its session's status is looked at after each call.
// (qzGetStatus() says OK and fills nothing in.)
//
// A call's requests are at the device together. Where one of them fails, the library returns at once, and takes the
// answers of the others, when they come, for those of the next call: right lengths, and other pages. So after a failure
// QAT is given up, with its memory; and a call's CRC of what the device has read has to be that of its input.
#include "codec/qatzip_abi.h"

#include <fmt/format.h>
#include <isa-l/crc.h>

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "codec/accelerator.h"
#include "codec/codecs.h"
#include "codec/leave_behind.h"
#include "codec/request_crew.h"
#include "codec/shared_library.h"

namespace godwit {

namespace {

// The wire's history (deflate.cpp).
constexpr unsigned kRequestBytes = 4096;
constexpr unsigned kCallBytes = kRequestBytes * qatzip::kRequestsOfACall;
// A block is decoded by one request, or the library would do it by software.
constexpr unsigned kDecodedBytes = kLongestBlock;
static_assert((kDecodedBytes & (kDecodedBytes - 1)) == 0, "QATzip takes powers of 2 only");
// What a request of random bytes may grow by, with room to spare.
constexpr std::size_t kOutputBytes = kLongestBlock + kLongestBlock / 8 + 64 * 1024;
// Calls that wait side by side: an instance has one at a time. More threads than this cost more than they carry.
constexpr unsigned kMostThreads = 16;
constexpr unsigned kThreadsOfADevice = 4;

constexpr std::array kQatzipNames = {"libqatzip.so.3", "libqatzip.so"};

struct QatzipCalls {
  explicit QatzipCalls(SharedLibrary from) : library(std::move(from)) {}
  Status bind() {
    return library.bind("qzInit", init, "qzGetDefaultsDeflate", defaults, "qzSetupSessionDeflate", setup,
                        "qzCompressCrcExt", compress, "qzDecompressExt", decompress, "qzTeardownSession", teardown,
                        "qzClose", close, "qzMalloc", allocate, "qzFree", free);
  }

  SharedLibrary library;
  qatzip::Init* init = nullptr;
  qatzip::GetDefaultsDeflate* defaults = nullptr;
  qatzip::SetupSessionDeflate* setup = nullptr;
  qatzip::CompressCrcExt* compress = nullptr;
  qatzip::DecompressExt* decompress = nullptr;
  qatzip::TeardownSession* teardown = nullptr;
  qatzip::Close* close = nullptr;
  qatzip::Malloc* allocate = nullptr;
  qatzip::Free* free = nullptr;
};

std::string why_not(long status) {
  switch (status) {
    case qatzip::kNoDevice:
    case qatzip::kSoftwareNoDevice:
      return "QATzip finds no QAT device that it may use: load qat_4xxx, start `qat.service` and let this user's group "
             "be `qat`";
    case qatzip::kNoMemoryDriver:
    case qatzip::kSoftwareNoMemoryDriver:
      return "QATzip finds no driver for pinned memory: load usdm_drv, or use qatlib with vfio-pci";
    case qatzip::kNoInstance:
    case qatzip::kSoftwareNoInstance:
      return "QATzip gets no instance for compression: set ServicesEnabled=dc in /etc/sysconfig/qat, restart "
             "`qat.service`, or end what uses them";
    case qatzip::kLowMemory:
    case qatzip::kSoftwareLowMemory:
      return "QATzip cannot pin memory: raise `ulimit -l` (LimitMEMLOCK=), or give it huge pages";
    default:
      return fmt::format("QATzip's status is {}", status);
  }
}

bool started(int status) {
  return status == qatzip::kOk || status == qatzip::kDuplicate;
}

/// One thread's.
class QatWorker final : public RequestWorker {
 public:
  QatWorker(std::shared_ptr<const QatzipCalls> calls, bool decodes) : calls_(std::move(calls)), decodes_(decodes) {}
  ~QatWorker() override {
    if (broken_) {
      for (const void* const memory : {session_.internal, static_cast<void*>(input_), static_cast<void*>(output_)}) {
        leave_behind(memory);
      }
      return;
    }
    if (input_ != nullptr) calls_->free(input_);
    if (output_ != nullptr) calls_->free(output_);
    if (session_.internal != nullptr) (void)calls_->teardown(&session_);
  }

  Status open() {
    const int begun = calls_->init(&session_, 0);
    if (!started(begun)) return fail(ErrorKind::kUnsupported, why_not(begun));
    qatzip::DeflateParameters parameters{};
    if (calls_->defaults(&parameters) != qatzip::kOk) return fail(ErrorKind::kUnsupported, "QATzip has no defaults");
    parameters.common.direction = qatzip::kBothDirections;
    parameters.common.level = 1;
    parameters.common.algorithm = qatzip::kDeflate;
    parameters.common.software_backup = 0;
    parameters.common.request_bytes = decodes_ ? kDecodedBytes : kRequestBytes;
    parameters.common.least_input = qatzip::kLeastThreshold;
    parameters.common.polling = qatzip::kPeriodicalPolling;
    parameters.huffman = qatzip::kDynamicHuffman;
    parameters.format = qatzip::kRawDeflate;
    const int set_up = calls_->setup(&session_, &parameters);
    if (!started(set_up)) return fail(ErrorKind::kUnsupported, why_not(set_up));
    // A library that would go on by software.
    if (session_.device_status != qatzip::kOk) return fail(ErrorKind::kUnsupported, why_not(session_.device_status));
    input_ = allocate(kLongestBlock);
    output_ = allocate(kOutputBytes);
    return input_ != nullptr && output_ != nullptr ? Status{}
                                                   : fail(ErrorKind::kUnsupported, why_not(qatzip::kLowMemory));
  }
  void close() { (void)calls_->close(&session_); }

  MutableBytes input() noexcept override { return {reinterpret_cast<std::byte*>(input_), kLongestBlock}; }
  MutableBytes output() noexcept override { return {reinterpret_cast<std::byte*>(output_), kOutputBytes}; }

  DeviceDone work(std::size_t length, std::size_t room, bool decodes) override {
    if (decodes != decodes_) return {.failed = true};
    const DeviceDone done = decodes ? decode(length, room) : encode(length, room);
    broken_ = broken_ || !done.broken.empty();
    return done;
  }

 private:
  unsigned char* allocate(std::size_t size) {
    return static_cast<unsigned char*>(calls_->allocate(size, qatzip::kAnyNode, qatzip::kPinned));
  }

  DeviceDone encode(std::size_t length, std::size_t room) {
    std::size_t read = 0;
    std::size_t written = 0;
    while (read < length) {
      // A rest below the library's threshold would be done by software.
      std::size_t part = std::min<std::size_t>(length - read, kCallBytes);
      if (length - read - part < qatzip::kLeastThreshold) part = length - read;
      auto from = static_cast<unsigned>(part);
      auto to = static_cast<unsigned>(kOutputBytes - written);
      unsigned long extended = 0;
      unsigned long crc = 0;
      const unsigned last = read + part == length ? 1 : 0;
      const int status =
          calls_->compress(&session_, input_ + read, &from, output_ + written, &to, last, &crc, &extended);
      // What it answers once it has heard all of its requests.
      if (status == qatzip::kBufferError) return {};
      if (auto wrong = look_at_call(status, extended)) return *wrong;
      if (from != part) return broken("QATzip left a part of a block out");
      if (crc != crc32_gzip_refl(0, input_ + read, part)) return broken("QATzip answered with another block");
      read += part;
      written += to;
      if (written >= room) return {};
    }
    return {.size = written < length ? written : 0};
  }

  DeviceDone decode(std::size_t length, std::size_t room) {
    auto from = static_cast<unsigned>(length);
    auto to = static_cast<unsigned>(room);
    unsigned long extended = 0;
    const int status = calls_->decompress(&session_, input_, &from, output_, &to, &extended);
    // It is one request. The library that decodes then says whether the block is damaged.
    if (status == qatzip::kBufferError || status == qatzip::kDataError) return {.failed = true};
    if (auto wrong = look_at_call(status, extended)) return *wrong;
    if (from != length) return broken("QATzip left a part of a block out");
    return {.size = to};
  }

  static DeviceDone broken(std::string why) { return {.failed = true, .broken = std::move(why)}; }

  /// Nothing: the device has done it.
  std::optional<DeviceDone> look_at_call(int status, unsigned long extended) {
    if (status == qatzip::kNoInstance) {
      // All are in use. It leaves that in the session's status, too, for ever.
      session_.device_status = qatzip::kOk;
      return DeviceDone{.failed = true, .busy = true};
    }
    if (status != qatzip::kOk) return broken(why_not(status));
    if (session_.device_status == qatzip::kOk && (extended & qatzip::kDoneBySoftware) == 0) return std::nullopt;
    return broken("QATzip has gone on by software");
  }

  std::shared_ptr<const QatzipCalls> calls_;
  bool decodes_;  ///< the library has buffers of one size for all sessions of a process: it is the one or the other
  qatzip::Session session_{};
  unsigned char* input_ = nullptr;
  unsigned char* output_ = nullptr;
  bool broken_ = false;
};

class Qat final : public Accelerator {
 public:
  Qat(std::shared_ptr<const QatzipCalls> calls, std::unique_ptr<QatWorker> first, AcceleratorFacts facts,
      unsigned threads, const AcceleratorSetting& setting)
      : first_(std::move(first)),
        facts_(std::move(facts)),
        crew_(std::in_place, threads, std::size_t{threads} * 4, setting,
              [calls = std::move(calls), decodes = setting.decodes]() -> Result<std::unique_ptr<RequestWorker>> {
                auto worker = std::make_unique<QatWorker>(calls, decodes);
                TRY(worker->open());
                return worker;
              }) {}
  ~Qat() override {
    if (crew_->end()) {
      first_->close();
    } else {
      leave_behind(first_.release());
    }
  }
  const AcceleratorFacts& facts() const noexcept override { return facts_; }
  Result<std::unique_ptr<DeviceQueue>> queue() override { return crew_->queue(); }

 private:
  std::unique_ptr<QatWorker> first_;  ///< keeps the library started
  AcceleratorFacts facts_;
  std::optional<RequestCrew> crew_;
};

}  // namespace

Result<std::unique_ptr<Accelerator>> open_qat(const AcceleratorSetting& setting) {
  auto calls = std::make_shared<QatzipCalls>(TRY(SharedLibrary::load(setting.library, kQatzipNames)));
  TRY(calls->bind());
  qatzip::SetLogLevel* quiet = nullptr;
  if (calls->library.bind("qzSetLogLevel", quiet)) (void)quiet(0);
  auto first = std::make_unique<QatWorker>(calls, setting.decodes);
  TRY(first->open());
  AcceleratorFacts facts{.name = name_of_device("qat", calls->library.model()),
                         .library = calls->library.name(),
                         .model = calls->library.model()};
  facts.devices = setting.devices;
  unsigned short instances = 0;
  qatzip::CountInstances* count = nullptr;
  if (calls->library.bind("cpaDcGetNumInstances", count) && count(&instances) == 0) facts.instances = instances;
  const unsigned wanted = facts.instances > 0 ? facts.instances : std::max(facts.devices, 1U) * kThreadsOfADevice;
  auto qat =
      std::make_unique<Qat>(calls, std::move(first), std::move(facts), std::clamp(wanted, 1U, kMostThreads), setting);
  TRY(try_accelerator(*qat, setting.decodes));
  return qat;
}

}  // namespace godwit
