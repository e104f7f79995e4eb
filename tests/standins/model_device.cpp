#include "tests/standins/model_device.h"

#include <isa-l/crc.h>
#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

namespace godwit::standin {

namespace {

std::string text_of(const char* name) {
  const char* const value = std::getenv(name);
  return value != nullptr ? value : "";
}

std::uint64_t number_of(const char* name, std::uint64_t otherwise) {
  const std::string text = text_of(name);
  return text.empty() ? otherwise : std::strtoull(text.c_str(), nullptr, 10);
}

std::uint8_t* readable(const std::uint8_t* bytes) {
  return const_cast<std::uint8_t*>(bytes);
}

/// Of the few blocks of a measurement: a sum of 32 bits, which is told besides, tells them apart. What is remembered is
/// checked by whoever decodes it.
std::uint64_t hash_of(const ModelRequest& request, std::uint32_t crc) {
  return std::uint64_t{crc} << 32 ^ request.length << 2 ^ (request.decodes ? 1 : 0) ^ (request.last ? 2 : 0);
}

/// One piece, behind what is there. False: no room.
bool deflate_piece(const ModelRequest& request, std::size_t at, std::size_t length, bool last,
                   std::vector<std::uint8_t>& out) {
  std::vector<std::uint8_t> memory(ISAL_DEF_LVL1_DEFAULT);
  const auto stream = std::make_unique<isal_zstream>();
  isal_deflate_stateless_init(stream.get());
  stream->level = 1;
  stream->level_buf = memory.data();
  stream->level_buf_size = static_cast<std::uint32_t>(memory.size());
  stream->hist_bits = static_cast<std::uint16_t>(request.window_bits);
  stream->gzip_flag = IGZIP_DEFLATE;
  stream->flush = FULL_FLUSH;
  stream->end_of_stream = last ? 1 : 0;
  stream->next_in = readable(request.input) + at;
  stream->avail_in = static_cast<std::uint32_t>(length);
  const std::size_t before = out.size();
  out.resize(before + length + length / 8 + 1024);
  stream->next_out = out.data() + before;
  stream->avail_out = static_cast<std::uint32_t>(out.size() - before);
  const int code = isal_deflate_stateless(stream.get());
  out.resize(before + stream->total_out);
  return code == COMP_OK && out.size() <= request.room;
}

ModelStatus inflate_all(const ModelRequest& request, std::vector<std::uint8_t>& out) {
  out.resize(request.room);
  const auto state = std::make_unique<inflate_state>();
  isal_inflate_init(state.get());
  state->crc_flag = ISAL_DEFLATE;
  state->hist_bits = request.window_bits;
  state->next_in = readable(request.input);
  state->avail_in = static_cast<std::uint32_t>(request.length);
  state->next_out = out.data();
  state->avail_out = static_cast<std::uint32_t>(out.size());
  if (isal_inflate(state.get()) != ISAL_DECOMP_OK || state->block_state != ISAL_BLOCK_FINISH) {
    return ModelStatus::kDamaged;
  }
  out.resize(state->total_out);
  return ModelStatus::kDone;
}

std::unique_ptr<ModelDevice>& the_device() {
  static std::unique_ptr<ModelDevice> device;
  return device;
}

std::mutex& device_mutex() {
  static std::mutex mutex;
  return mutex;
}

}  // namespace

ModelSetting ModelSetting::from_environment() {
  ModelSetting setting;
  setting.latency = std::chrono::microseconds(number_of("GODWIT_MODEL_LATENCY", 100));
  setting.bytes_per_second =
      1e6 * static_cast<double>(std::max<std::uint64_t>(number_of("GODWIT_MODEL_RATE", 12000), 1));
  setting.instances = static_cast<unsigned>(std::clamp<std::uint64_t>(number_of("GODWIT_MODEL_INSTANCES", 8), 1, 64));
  setting.queue = number_of("GODWIT_MODEL_QUEUE", 64);
  setting.random_order = text_of("GODWIT_MODEL_ORDER") == "random";
  setting.busy = static_cast<unsigned>(number_of("GODWIT_MODEL_BUSY", 0));
  setting.refuses = static_cast<unsigned>(number_of("GODWIT_MODEL_REFUSES", 0));
  setting.garbage = static_cast<unsigned>(number_of("GODWIT_MODEL_GARBAGE", 0));
  setting.well = number_of("GODWIT_MODEL_WELL", 0);
  setting.errors = static_cast<unsigned>(number_of("GODWIT_MODEL_ERRORS", 0));
  setting.vanishes_after = number_of("GODWIT_MODEL_VANISHES", 0);
  setting.hangs_after = number_of("GODWIT_MODEL_HANGS", 0);
  setting.lacks = text_of("GODWIT_MODEL_LACKS");
  setting.remembers = number_of("GODWIT_MODEL_REMEMBERS", 0) != 0;
  setting.seed = number_of("GODWIT_MODEL_SEED", 1);
  return setting;
}

ModelDevice::ModelDevice(ModelSetting setting) : setting_(std::move(setting)), random_(setting_.seed) {
  for (unsigned i = 0; i < setting_.instances; ++i) threads_.emplace_back([this] { run(); });
}

ModelDevice::~ModelDevice() {
  {
    const std::lock_guard lock(mutex_);
    ends_ = true;
    wake_waiters();
  }
  for (auto& thread : threads_) thread.join();
}

bool ModelDevice::submit(ModelRequest& request) {
  const std::lock_guard lock(mutex_);
  if (held_ >= setting_.queue || happens(setting_.busy)) return false;
  request.status = ModelStatus::kUnderWay;
  request.written = 0;
  request.worked_on = false;
  ++held_;
  const auto now = Clock::now();
  const auto work = std::chrono::duration<double>(static_cast<double>(request.length) / setting_.bytes_per_second);
  free_at_ = std::max(free_at_, now) + std::chrono::duration_cast<Clock::duration>(work);
  auto due = free_at_ + setting_.latency;
  if (setting_.random_order) due += setting_.latency * (random_() % 8);
  waiting_.push_back({&request, ++requests_, sum_of(request), due});
  came_.notify_one();
  return true;
}

ModelStatus ModelDevice::look(const ModelRequest& request) {
  const std::lock_guard lock(mutex_);
  return request.status;
}

void ModelDevice::wake_waiters() {
  came_.notify_all();
  for (auto* waiter : waiters_) waiter->notify_all();
}

ModelStatus ModelDevice::wait(ModelRequest& request) {
  std::unique_lock lock(mutex_);
  std::condition_variable answered;
  request.waiter = &answered;
  waiters_.insert(&answered);
  answered.wait(lock, [&] { return request.status != ModelStatus::kUnderWay || (ends_ && !request.worked_on); });
  waiters_.erase(&answered);
  request.waiter = nullptr;
  return request.status == ModelStatus::kUnderWay ? ModelStatus::kFailed : request.status;
}

bool ModelDevice::idle() {
  const std::lock_guard lock(mutex_);
  if (held_ == 0) return true;
  ends_ = true;
  wake_waiters();
  for (auto& thread : threads_) thread.detach();
  return false;
}

bool ModelDevice::vanished() {
  const std::lock_guard lock(mutex_);
  return setting_.vanishes_after != 0 && requests_ > setting_.vanishes_after;
}

void ModelDevice::hold(bool holds) {
  const std::lock_guard lock(mutex_);
  holds_ = holds;
  let_go_.notify_all();
}

void ModelDevice::amid_read(AmidRead* call, void* context) {
  const std::lock_guard lock(mutex_);
  amid_read_ = call;
  context_ = context;
}

/// As a device that reads each byte once, whoever writes meanwhile.
std::vector<std::uint8_t> ModelDevice::read(const ModelRequest& request) {
  AmidRead* call = nullptr;
  void* context = nullptr;
  {
    const std::lock_guard lock(mutex_);
    call = amid_read_;
    context = context_;
  }
  std::vector<std::uint8_t> bytes(request.length);
  const std::size_t half = request.length / 2;
  if (half > 0) std::memcpy(bytes.data(), request.input, half);
  if (call != nullptr) call(context, request.input, request.length);
  if (request.length > half) std::memcpy(bytes.data() + half, request.input + half, request.length - half);
  return bytes;
}

bool ModelDevice::refuses() {
  const std::lock_guard lock(mutex_);
  return happens(setting_.refuses);
}

std::uint64_t ModelDevice::inputs_changed() {
  const std::lock_guard lock(mutex_);
  return changed_;
}

/// Not where CPU time is measured: whoever submits would pay for it.
std::uint32_t ModelDevice::sum_of(const ModelRequest& request) const {
  return setting_.remembers ? 0 : crc32_ieee(0, readable(request.input), request.length);
}

void ModelDevice::run() {
  std::unique_lock lock(mutex_);
  while (true) {
    came_.wait(lock, [this] { return ends_ || !waiting_.empty(); });
    if (ends_) return;
    const std::size_t at = setting_.random_order ? random_() % waiting_.size() : 0;
    const Entry entry = waiting_[at];
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(at));
    ModelRequest& request = *entry.request;
    if (setting_.hangs_after != 0 && entry.number > setting_.hangs_after) continue;  // held for ever
    const bool well = entry.number <= setting_.well;
    const bool fails = !well && happens(setting_.errors);
    const bool other = !well && happens(setting_.garbage);
    request.worked_on = true;
    lock.unlock();
    ModelRequest worked = request;
    std::vector<std::uint8_t> read_bytes;
    // Where CPU time is measured, nobody writes to inputs.
    if (!setting_.remembers) {
      read_bytes = read(request);
      if (other && request.length > 0) read_bytes[0] ^= 1;
      worked.input = read_bytes.data();
    }
    worked.crc = crc32_gzip_refl(0, worked.input, worked.length);
    Made made;
    ModelStatus status = fails ? ModelStatus::kFailed : work(worked, made);
    if (status == ModelStatus::kDone) std::memcpy(request.output, made->data(), made->size());
    std::this_thread::sleep_until(entry.due);
    const bool same = sum_of(request) == entry.checksum;
    lock.lock();
    let_go_.wait(lock, [this] { return ends_ || !holds_; });
    // Whatever is under way when it vanishes fails, too.
    if (setting_.vanishes_after != 0 && requests_ > setting_.vanishes_after) status = ModelStatus::kFailed;
    if (!same) ++changed_;
    if (status == ModelStatus::kDone) {
      request.written = made->size();
      request.crc = worked.crc;
    }
    request.status = status;
    request.worked_on = false;
    --held_;
    if (request.waiter != nullptr) request.waiter->notify_one();
  }
}

ModelStatus ModelDevice::work(const ModelRequest& request, Made& made) {
  const std::uint64_t hash = setting_.remembers ? hash_of(request, request.crc) : 0;
  if (setting_.remembers) {
    const std::lock_guard lock(mutex_);
    if (const auto seen = seen_.find(hash); seen != seen_.end()) {
      made = seen->second;
      return made->size() <= request.room ? ModelStatus::kDone : ModelStatus::kNoRoom;
    }
  }
  std::vector<std::uint8_t> fresh;
  if (request.decodes) {
    if (const ModelStatus status = inflate_all(request, fresh); status != ModelStatus::kDone) return status;
  } else {
    const std::size_t piece = request.piece == 0 ? request.length : request.piece;
    for (std::size_t at = 0; at < request.length; at += piece) {
      const std::size_t length = std::min(piece, request.length - at);
      const bool last = request.last && at + length == request.length;
      if (!deflate_piece(request, at, length, last, fresh)) return ModelStatus::kNoRoom;
    }
  }
  made = std::make_shared<const std::vector<std::uint8_t>>(std::move(fresh));
  if (setting_.remembers) {
    const std::lock_guard lock(mutex_);
    seen_.emplace(hash, made);
  }
  return ModelStatus::kDone;
}

ModelDevice& model_device() {
  const std::lock_guard lock(device_mutex());
  auto& device = the_device();
  if (!device) device = std::make_unique<ModelDevice>(ModelSetting::from_environment());
  return *device;
}

void reset_model_device() {
  const std::lock_guard lock(device_mutex());
  auto& device = the_device();
  // One that hangs has threads of somebody else's inside: it is kept.
  static auto& kept = *new std::vector<std::unique_ptr<ModelDevice>>;
  if (device && !device->idle()) kept.push_back(std::move(device));
  device.reset();
}

}  // namespace godwit::standin
