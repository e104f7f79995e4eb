// Looks like libqatzip, as far as Godwit calls it, with a model of a device behind it (model_device.h).
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "codec/qatzip_abi.h"
#include "tests/standins/model_device.h"

namespace {

using godwit::standin::model_device;
using godwit::standin::ModelRequest;
using godwit::standin::ModelStatus;
namespace qatzip = godwit::qatzip;

constexpr int kFail = -2;

/// What a session keeps behind `internal`.
struct Kept {
  unsigned request_bytes = 64 * 1024;
  unsigned least_input = 1024;
  std::uint64_t calls = 0;
  /// After a call that failed, the answers of its other requests come to the next one.
  std::vector<unsigned char> late;
};

bool lacks(const char* what) {
  return model_device().setting().lacks == what;
}

int status_of_lack() {
  if (lacks("device")) return qatzip::kNoDevice;
  if (lacks("driver")) return qatzip::kNoMemoryDriver;
  if (lacks("instances")) return qatzip::kNoInstance;
  if (lacks("memory")) return qatzip::kLowMemory;
  return qatzip::kOk;
}

/// What the library looks at before it asks a device. It keeps what it has found, until somebody takes it away.
int begin_call(qatzip::Session* session) {
  if (session->device_status != qatzip::kOk && session->device_status != qatzip::kSoftwareNoInstance) {
    return static_cast<int>(session->device_status);
  }
  if (!model_device().refuses()) return qatzip::kOk;
  session->device_status = qatzip::kSoftwareNoInstance;
  return qatzip::kNoInstance;
}

std::atomic<unsigned> inside{0};

/// As the library, whose destructor frees what a thread inside a call works on.
struct EndsWithTheProcess {
  ~EndsWithTheProcess() {
    if (inside > 0 && std::getenv("GODWIT_MODEL_HANGS") != nullptr) std::abort();
  }
} const ends_with_the_process;

int carried_out(ModelRequest& request) {
  ++inside;
  struct Leaves {
    ~Leaves() { --inside; }
  } const leaves;
  // As the library: it asks again until the device takes it.
  while (!model_device().submit(request)) std::this_thread::sleep_for(std::chrono::microseconds(20));
  switch (model_device().wait(request)) {
    case ModelStatus::kDone:
      return qatzip::kOk;
    case ModelStatus::kNoRoom:
      return qatzip::kBufferError;
    case ModelStatus::kDamaged:
      return qatzip::kDataError;
    default:
      return kFail;
  }
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

extern const char godwit_accelerator_model[];
const char godwit_accelerator_model[] = "software behind QATzip's interface";

void godwit_model_reset() {
  godwit::standin::reset_model_device();
}
void godwit_model_hold(bool holds) {
  model_device().hold(holds);
}
void godwit_model_amid_read(godwit::standin::ModelDevice::AmidRead* call, void* context) {
  model_device().amid_read(call, context);
}
std::uint64_t godwit_model_inputs_changed() {
  return model_device().inputs_changed();
}

int qzInit(qatzip::Session* session, unsigned char) {
  session->device_status = qatzip::kUninitialized;
  return status_of_lack();
}

int qzGetDefaultsDeflate(qatzip::DeflateParameters* parameters) {
  *parameters = {};
  parameters->common = {.direction = qatzip::kBothDirections,
                        .level = 1,
                        .algorithm = qatzip::kDeflate,
                        .most_forks = 3,
                        .software_backup = 1,
                        .request_bytes = 64 * 1024,
                        .stream_bytes = 64 * 1024,
                        .least_input = 1024,
                        .request_threshold = 32,
                        .retry_threshold = 8,
                        .polling = 0,
                        .sensitive_mode = 0};
  return qatzip::kOk;
}

int qzSetupSessionDeflate(qatzip::Session* session, qatzip::DeflateParameters* parameters) {
  if (parameters->format != qatzip::kRawDeflate) return -1;
  if (parameters->common.least_input < qatzip::kLeastThreshold) return -1;
  auto* const kept = new Kept;
  kept->request_bytes = parameters->common.request_bytes;
  kept->least_input = parameters->common.least_input;
  session->internal = kept;
  session->device_status = lacks("software") ? qatzip::kSoftwareNoDevice : qatzip::kOk;
  return qatzip::kOk;
}

/// As in all versions: nothing is filled in.
int qzGetStatus(qatzip::Session*, void*) {
  return qatzip::kOk;
}

int qzCompressCrcExt(qatzip::Session* session, const unsigned char* from, unsigned* from_length, unsigned char* to,
                     unsigned* to_length, unsigned last, unsigned long* crc, unsigned long* extended) {
  auto* const kept = static_cast<Kept*>(session->internal);
  *extended = 0;
  if (const int status = begin_call(session); status != qatzip::kOk) {
    *from_length = *to_length = 0;
    return status;
  }
  ModelRequest request{.input = from,
                       .length = *from_length,
                       .output = to,
                       .room = *to_length,
                       .last = last != 0,
                       .piece = kept->request_bytes};
  if (!kept->late.empty()) {
    kept->late.resize(request.length);
    request.input = kept->late.data();
  }
  const bool by_software = *from_length < kept->least_input || (lacks("quiet") && ++kept->calls > 16);
  if (by_software) session->device_status = qatzip::kSoftwareNoDevice;
  const int status = carried_out(request);
  kept->late.clear();
  if (status == kFail) kept->late.assign(from, from + *from_length);
  if (status != qatzip::kOk) *from_length = 0;
  *to_length = static_cast<unsigned>(request.written);
  *crc = request.crc;
  return status;
}

int qzDecompressExt(qatzip::Session* session, const unsigned char* from, unsigned* from_length, unsigned char* to,
                    unsigned* to_length, unsigned long* extended) {
  *extended = 0;
  const auto* const kept = static_cast<const Kept*>(session->internal);
  // As the library without its software.
  int status = *to_length > kept->request_bytes || *from_length < kept->least_input ? kFail : begin_call(session);
  if (status != qatzip::kOk) {
    *from_length = *to_length = 0;
    return status;
  }
  ModelRequest request{.input = from, .length = *from_length, .output = to, .room = *to_length, .decodes = true};
  status = carried_out(request);
  if (status != qatzip::kOk) *from_length = 0;
  *to_length = static_cast<unsigned>(request.written);
  return status;
}

int qzTeardownSession(qatzip::Session* session) {
  delete static_cast<Kept*>(session->internal);
  session->internal = nullptr;
  return qatzip::kOk;
}

int qzClose(qatzip::Session*) {
  return qatzip::kOk;
}

void* qzMalloc(std::size_t size, int, int) {
  return std::aligned_alloc(64, (size + 63) / 64 * 64);
}

void qzFree(void* memory) {
  std::free(memory);
}

int qzSetLogLevel(int) {
  return 0;
}

int cpaDcGetNumInstances(unsigned short* instances) {
  *instances = static_cast<unsigned short>(model_device().setting().instances);
  return 0;
}

}  // extern "C"
#pragma GCC visibility pop
