// What a source shows while it runs.
#pragma once

#include "engine/ram_copy.h"

namespace godwit {

class SourceProgress {
 public:
  /// All outlive it.
  SourceProgress(const SourceContext& context, const SinkSession& session, const RamCopy& ram)
      : context_(context), session_(session), ram_(ram), forecast_(context.parts.goals) {}
  void use(const Goals& goals) { forecast_.use(goals); }

  void show();
  /// Where nothing else has shown for a while.
  void show_at_times();

 private:
  void look_ahead(Progress& progress, const Sample& sample);
  std::string trouble_now(const Sample& sample) const;
  double fraction_of(const Progress& progress, bool too_long);

  const SourceContext& context_;
  const SinkSession& session_;
  const RamCopy& ram_;
  SourceForecast forecast_;
  RateMeter rate_;
  Instant shown_at_{};
  double fraction_ = 0;
};

}  // namespace godwit
