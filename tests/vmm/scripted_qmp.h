// A monitor whose answers a test writes down: command, or "command key=value", to answer.
#pragma once

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "vmm/qemu/qmp.h"

namespace godwit::testing {

class ScriptedQmp final : public qemu::Qmp {
 public:
  using qemu::Qmp::execute;

  void set(const std::string& command, qemu::Json answer) { answers_[command] = std::move(answer); }
  void set_text(const std::string& command, std::string_view json) { set(command, qemu::Json::parse(json)); }

  /// The most exact answer: "qom-get path=/machine property=type" before "qom-get". None: the command is not known.
  Result<qemu::Json> execute(std::string_view command, const qemu::Json& arguments) override {
    std::string exact(command);
    for (const auto& [key, value] : arguments.items()) {
      exact += fmt::format(" {}={}", key, value.is_string() ? value.get<std::string>() : value.dump());
    }
    log.push_back(exact);
    for (const auto& name : {exact, std::string(command)}) {
      const auto found = answers_.find(name);
      if (found == answers_.end()) continue;
      if (found->second.is_object() && found->second.contains("error")) {
        return fail(ErrorKind::kHypervisor, found->second.at("error").get<std::string>());
      }
      return found->second;
    }
    return fail(ErrorKind::kUnsupported, fmt::format("{}: the command is not known", exact));
  }
  Result<qemu::Json> execute_with_descriptor(std::string_view, const qemu::Json&, int) override {
    return fail(ErrorKind::kUnsupported, "no descriptors");
  }
  void on_event(OnEvent) override {}
  void on_lost(std::function<void()>) override {}
  pid_t peer_pid() const noexcept override { return 0; }

  std::vector<std::string> log;  // every command that came

 private:
  std::map<std::string, qemu::Json> answers_;
};

}  // namespace godwit::testing
