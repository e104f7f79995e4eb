// Looks like libqpl, as far as Godwit calls it, with a model of a device behind it (model_device.h).
#include <atomic>
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
struct Kept {
  ModelRequest request;
  bool submitted = false;
  bool spoilt = false;  ///< it has ended otherwise than well, and was used again as it was: no step of it ever ends
  bool stuck = false;   ///< its last step was refused: it says that it is under way for ever
  int steps = 0;        ///< of a compression that have ended: statistics, encoding, verifying
};

Kept& kept_of(qpl::Job* job) {
  return *reinterpret_cast<Kept*>(job->own.hardware);
}

std::atomic<unsigned> freed_early{0};

/// The device hands each step of a compression back, and the library submits the next: if there is room.
int next_step(qpl::Job* job, Kept& kept) {
  ++kept.steps;
  if (kept.steps == 1) return model_device().refuses() ? (--kept.steps, qpl::kQueuesBusy) : qpl::kBeingProcessed;
  if (kept.steps > 2) return qpl::kOk;
  job->in_total = job->in_left;
  job->in_left = 0;
  job->out_total = static_cast<std::uint32_t>(kept.request.written);
  job->crc = kept.request.crc;
  kept.stuck = model_device().refuses();
  return kept.stuck ? qpl::kQueuesBusy : qpl::kBeingProcessed;
}

int ended_badly(Kept& kept, int status) {
  kept.spoilt = true;
  return status;
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
void godwit_model_hold(bool holds) {
  model_device().hold(holds);
}
void godwit_model_amid_read(godwit::standin::ModelDevice::AmidRead* call, void* context) {
  model_device().amid_read(call, context);
}
std::uint64_t godwit_model_inputs_changed() {
  return model_device().inputs_changed() + freed_early;
}

const char* qpl_get_library_version() {
  return "1.6.0";
}

int qpl_get_job_size(int path, std::uint32_t* size) {
  *size = sizeof(qpl::Job) + 64 + sizeof(Kept);
  return path == qpl::kHardwarePath ? qpl::kOk : 54;
}

int qpl_init_job(int path, qpl::Job* job) {
  if (const int status = status_of_lack(); status != qpl::kOk) return status;
  *job = {};
  const std::size_t behind = (sizeof(qpl::Job) + 63) / 64 * 64;
  job->own.hardware = reinterpret_cast<std::uint8_t*>(job) + behind;
  job->own.path = path;
  new (job->own.hardware) Kept{};
  return qpl::kOk;
}

int qpl_submit_job(qpl::Job* job) {
  if (model_device().vanished()) return qpl::kNoWorkQueues;
  if (job->level != qpl::kDefaultLevel) return 87;
  if ((job->flags & (qpl::kFirst | qpl::kLast)) != (qpl::kFirst | qpl::kLast)) return 55;
  Kept& kept = kept_of(job);
  kept.steps = 0;
  kept.stuck = kept.spoilt;
  kept.request = {.input = job->in,
                  .length = job->in_left,
                  .output = job->out,
                  .room = job->out_left,
                  .decodes = job->operation == qpl::kDecompress,
                  .window_bits = kIaaWindow};
  job->in_total = 0;
  job->out_total = 0;
  kept.submitted = model_device().submit(kept.request);
  return kept.submitted ? qpl::kOk : qpl::kQueuesBusy;
}

int qpl_check_job(qpl::Job* job) {
  Kept& kept = kept_of(job);
  if (!kept.submitted) return kJobNotSubmitted;
  if (kept.stuck) return qpl::kBeingProcessed;
  switch (model_device().look(kept.request)) {
    case ModelStatus::kUnderWay:
      return qpl::kBeingProcessed;
    case ModelStatus::kDone:
      if (!kept.request.decodes) return next_step(job, kept);
      job->in_total = job->in_left;
      job->in_left = 0;
      job->out_total = static_cast<std::uint32_t>(kept.request.written);
      return qpl::kOk;
    case ModelStatus::kNoRoom:
      return ended_badly(kept, qpl::kMoreOutputNeeded);
    case ModelStatus::kDamaged:
      return ended_badly(kept, kBadDistance);
    case ModelStatus::kFailed:
      break;
  }
  return ended_badly(kept, kHardwareTimeout);
}

int qpl_fini_job(qpl::Job* job) {
  Kept& kept = kept_of(job);
  if (kept.submitted && model_device().look(kept.request) == ModelStatus::kUnderWay) ++freed_early;
  return qpl::kOk;
}

}  // extern "C"
#pragma GCC visibility pop
