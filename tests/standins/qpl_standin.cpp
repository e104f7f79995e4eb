// Looks like libqpl, as far as Godwit calls it, with a model of a device behind it (model_device.h).
#include <cstring>
#include <new>

#include "codec/qpl_abi.h"
#include "tests/standins/model_device.h"

namespace {

using godwit::standin::model_device;
using godwit::standin::ModelRequest;
using godwit::standin::ModelStatus;
namespace qpl = godwit::qpl;

constexpr int kJobNotSubmitted = 7;
constexpr int kBadDistance = 217;
constexpr int kHardwareTimeout = 334;
constexpr unsigned kIaaWindow = 12;

/// What a job keeps behind `own.hardware`: right behind the job itself.
ModelRequest& request_of(qpl::Job* job) {
  return *reinterpret_cast<ModelRequest*>(job->own.hardware);
}

int status_of_lack() {
  const auto& lacks = model_device().setting().lacks;
  if (lacks == "device") return qpl::kHardwareNotSupported;
  if (lacks == "config") return qpl::kNoAccelConfig;
  if (lacks == "queue") return qpl::kNoWorkQueues;
  return qpl::kOk;
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

extern const char godwit_accelerator_model[];
const char godwit_accelerator_model[] = "software behind QPL's interface";

void godwit_model_reset() {
  godwit::standin::reset_model_device();
}
std::uint64_t godwit_model_inputs_changed() {
  return model_device().inputs_changed();
}

const char* qpl_get_library_version() {
  return "1.6.0";
}

int qpl_get_job_size(int path, std::uint32_t* size) {
  *size = sizeof(qpl::Job) + 64 + sizeof(ModelRequest);
  return path == qpl::kHardwarePath ? qpl::kOk : 54;
}

int qpl_init_job(int path, qpl::Job* job) {
  if (const int status = status_of_lack(); status != qpl::kOk) return status;
  *job = {};
  const std::size_t behind = (sizeof(qpl::Job) + 63) / 64 * 64;
  job->own.hardware = reinterpret_cast<std::uint8_t*>(job) + behind;
  job->own.path = path;
  new (job->own.hardware) ModelRequest{};
  return qpl::kOk;
}

int qpl_submit_job(qpl::Job* job) {
  if (model_device().vanished()) return qpl::kNoWorkQueues;
  if (job->level != qpl::kDefaultLevel) return 87;
  if ((job->flags & (qpl::kFirst | qpl::kLast)) != (qpl::kFirst | qpl::kLast)) return 55;
  ModelRequest& request = request_of(job);
  request = {.input = job->in,
             .length = job->in_left,
             .output = job->out,
             .room = job->out_left,
             .decodes = job->operation == qpl::kDecompress,
             .window_bits = kIaaWindow};
  job->out_total = 0;
  return model_device().submit(request) ? qpl::kOk : qpl::kQueuesBusy;
}

int qpl_check_job(qpl::Job* job) {
  ModelRequest& request = request_of(job);
  if (request.input == nullptr) return kJobNotSubmitted;
  switch (model_device().look(request)) {
    case ModelStatus::kUnderWay:
      return qpl::kBeingProcessed;
    case ModelStatus::kDone:
      job->in_total = job->in_left;
      job->in_left = 0;
      job->out_total = static_cast<std::uint32_t>(request.written);
      return qpl::kOk;
    case ModelStatus::kNoRoom:
      return qpl::kMoreOutputNeeded;
    case ModelStatus::kDamaged:
      return kBadDistance;
    case ModelStatus::kFailed:
      break;
  }
  return kHardwareTimeout;
}

int qpl_fini_job(qpl::Job*) {
  return qpl::kOk;
}

}  // extern "C"
#pragma GCC visibility pop
