// The queue and its thread are spdlog's; nobody else sees spdlog.
#include "log/log_writer.h"

#include <pthread.h>
#include <spdlog/async_logger.h>
#include <spdlog/details/thread_pool.h>
#include <spdlog/sinks/sink.h>

#include <atomic>

namespace godwit {

namespace {

// A migration has some hundred lines, seldom more than twenty at once.
constexpr std::size_t kQueueLength = 1024;

}  // namespace

/// spdlog's end of a target. Records come rendered.
class LogWriter::Sink final : public spdlog::sinks::sink {
 public:
  explicit Sink(std::unique_ptr<LogTarget> target) : target_(std::move(target)) {}

  const LogTarget& target() const noexcept { return *target_; }
  std::uint64_t failed() const noexcept { return failed_; }

  void log(const spdlog::details::log_msg& message) override {
    if (!target_->write({message.payload.data(), message.payload.size()})) ++failed_;
  }
  void flush() override {}  // there is nothing that a target keeps back
  void set_pattern(const std::string&) override {}
  void set_formatter(std::unique_ptr<spdlog::formatter>) override {}

 private:
  std::unique_ptr<LogTarget> target_;
  std::atomic<std::uint64_t> failed_{0};
};

struct LogWriter::Queue {
  explicit Queue(std::unique_ptr<LogTarget> target)
      : sink(std::make_shared<Sink>(std::move(target))),
        pool(std::make_shared<spdlog::details::thread_pool>(kQueueLength, 1,
                                                            [] { ::pthread_setname_np(::pthread_self(), "gw-log"); })),
        logger(std::make_shared<spdlog::async_logger>("godwit", sink, pool,
                                                      spdlog::async_overflow_policy::overrun_oldest)) {
    logger->set_level(spdlog::level::trace);
    logger->set_error_handler([](const std::string&) {});  // it would speak on stderr
  }

  std::shared_ptr<Sink> sink;
  std::shared_ptr<spdlog::details::thread_pool> pool;
  std::shared_ptr<spdlog::async_logger> logger;
};

LogWriter::LogWriter(std::unique_ptr<LogTarget> target) : queue_(std::make_unique<Queue>(std::move(target))) {}

LogWriter::~LogWriter() = default;

void LogWriter::post(const LogRecord& record) noexcept {
  try {
    const std::string rendered = queue_->sink->target().render(record);
    queue_->logger->log(spdlog::level::info, spdlog::string_view_t(rendered.data(), rendered.size()));
  } catch (...) {
    // Out of memory: a migration goes on without its log.
  }
}

std::uint64_t LogWriter::lost() const noexcept {
  return queue_->pool->overrun_counter() + queue_->sink->failed();
}

}  // namespace godwit
