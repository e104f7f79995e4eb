// A process in QEMU's place: threads that use all the CPU time they get, and a main thread that does what it is told.
#pragma once

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#include <array>
#include <atomic>
#include <charconv>
#include <csignal>
#include <fstream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "base/small_files.h"
#include "tests/attach/forked_process.h"

namespace godwit::testing {

class BusyProcess {
 public:
  static constexpr int kMostThreads = 8;

  explicit BusyProcess(int threads) : process_([this, threads] { serve(threads); }) {
    eventually([&] { return state_->ready.load(); });
  }

  pid_t pid() const { return process_.pid(); }
  pid_t thread(int i) const { return state_->ids[static_cast<std::size_t>(i)]; }
  std::vector<pid_t> threads() const {
    std::vector<pid_t> ids;
    for (int i = 0; i < state_->count; ++i) ids.push_back(thread(i));
    return ids;
  }
  /// The main thread answers: false if it does not within ten seconds.
  bool add_thread() { return tell(state_->wanted_threads, state_->count + 1, state_->count); }
  bool end_thread(int i) {
    state_->ends[static_cast<std::size_t>(i)] = true;
    return eventually([&] { return !has_thread(thread(i)); });
  }
  bool has_thread(pid_t id) const { return ::access(fmt::format("/proc/{}/task/{}", pid(), id).c_str(), F_OK) == 0; }
  /// Sends it SIGUSR1 and waits until its handler has run.
  bool signal_arrives(int i) {
    const int before = state_->signals;
    ::syscall(SYS_tgkill, pid(), thread(i), SIGUSR1);
    return eventually([&] { return state_->signals > before; });
  }
  /// It writes to ever new pages as well.
  void let_write(int i) { state_->writes[static_cast<std::size_t>(i)] = true; }
  bool goes_on(int i) const {
    const auto before = work(i);
    return eventually([&] { return work(i) > before; });
  }
  std::uint64_t work(int i) const { return state_->work[static_cast<std::size_t>(i)]; }
  int end() { return process_.end(); }

  /// CPU time of a thread, nanoseconds.
  std::uint64_t ran(pid_t id) const {
    const auto text = read_small_file(fmt::format("/proc/{}/task/{}/schedstat", pid(), id)).value_or("0");
    std::uint64_t time = 0;
    std::from_chars(text.data(), text.data() + text.size(), time);
    return time;
  }
  /// The part of the time that the thread ran, over some periods.
  double share_of(int i, std::chrono::milliseconds time = std::chrono::milliseconds(600)) const {
    const auto began = std::chrono::steady_clock::now();
    const auto before = ran(thread(i));
    std::this_thread::sleep_for(time);
    const auto used = ran(thread(i)) - before;
    const std::chrono::duration<double, std::nano> passed = std::chrono::steady_clock::now() - began;
    return static_cast<double>(used) / passed.count();
  }
  /// Its share from now on, measured until it is at most a third above `share`, or for ten seconds. Other work on this
  /// machine makes it smaller, without bounds; and larger, for a moment, where this machine is a guest itself whose CPU
  /// was taken away while the thread ran, which counts as the thread's time.
  double share_towards(int i, double share) const {
    ::usleep(200'000);  // the last period of an earlier setting
    const auto began = std::chrono::steady_clock::now();
    const auto before = ran(thread(i));
    double got = 0;
    for (int tries = 0; tries < 20 && (tries == 0 || !is_within(got, share)); ++tries) {
      ::usleep(500'000);
      const std::chrono::duration<double, std::nano> passed = std::chrono::steady_clock::now() - began;
      got = static_cast<double>(ran(thread(i)) - before) / passed.count();
    }
    return got;
  }
  static bool is_within(double got, double share) { return got > 0 && got <= share * 1.3 + 0.02; }
  /// /proc's text of what groups the thread is in.
  std::string groups_of(int i) const {
    return read_small_file(fmt::format("/proc/{}/task/{}/cgroup", pid(), thread(i))).value_or("");
  }
  char state_of(int i) const {
    const auto status = read_small_file(fmt::format("/proc/{}/task/{}/status", pid(), thread(i))).value_or("");
    return value_of_line(status, "State").value_or("?")[0];
  }

 private:
  struct Shared {
    std::atomic<bool> ready{false};
    std::atomic<int> count{0}, wanted_threads{0}, signals{0};
    std::array<std::atomic<pid_t>, kMostThreads> ids{};
    std::array<std::atomic<bool>, kMostThreads> ends{};
    std::array<std::atomic<bool>, kMostThreads> writes{};
    std::array<std::atomic<std::uint64_t>, kMostThreads> work{};
  };

  static inline Shared* handled_ = nullptr;

  bool tell(std::atomic<int>& what, int value, std::atomic<int>& answer) {
    what = value;
    return eventually([&] { return answer == value; });
  }

  static void write_to_new_pages() {
    constexpr std::size_t kPages = 64, kOne = 4096;
    void* made =
        ::mmap(nullptr, kPages * kOne, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (made == MAP_FAILED) return;
    ::madvise(made, kPages * kOne, MADV_NOHUGEPAGE);
    for (std::size_t at = 0; at < kPages * kOne; at += kOne) static_cast<volatile char*>(made)[at] = 1;
    ::munmap(made, kPages * kOne);
  }

  void begin_thread(std::vector<std::thread>& threads, std::size_t i) {
    threads.emplace_back([this, i] {
      state_->ids[i] = static_cast<pid_t>(::syscall(SYS_gettid));
      while (!state_->ends[i]) {
        if (state_->writes[i]) write_to_new_pages();
        for (int k = 0; k < 1000; ++k) state_->work[i].fetch_add(1, std::memory_order_relaxed);
      }
    });
    while (state_->ids[i] == 0) ::usleep(200);
  }

  [[noreturn]] void serve(int count) {
    handled_ = &*state_;
    struct sigaction action {};
    action.sa_handler = [](int) { handled_->signals.fetch_add(1); };
    ::sigaction(SIGUSR1, &action, nullptr);
    std::vector<std::thread> threads;
    state_->wanted_threads = count;
    while (true) {
      while (state_->count < state_->wanted_threads) {
        begin_thread(threads, static_cast<std::size_t>(state_->count));
        ++state_->count;
      }
      state_->ready = true;
      ::usleep(1000);
    }
  }

  SharedWithChildren<Shared> state_;
  ForkedProcess process_;
};

}  // namespace godwit::testing
