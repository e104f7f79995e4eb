// Guest RAM is read while the guest writes to it: what migration is about, and a data race in C++.
#pragma once

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define GODWIT_THREAD_SANITIZER 1
#endif
#endif

#ifdef GODWIT_THREAD_SANITIZER
// The thread sanitizer's own; no header declares them.
extern "C" {
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
}
#endif

namespace godwit::testing {

/// While one of these is there, the thread sanitizer does not watch what this thread reads and writes. Suppressions by
/// name would do too, but each report costs milliseconds before it is dropped.
class RacyOnPurpose {
 public:
#ifdef GODWIT_THREAD_SANITIZER
  RacyOnPurpose() {
    AnnotateIgnoreReadsBegin(__FILE__, __LINE__);
    AnnotateIgnoreWritesBegin(__FILE__, __LINE__);
  }
  ~RacyOnPurpose() {
    AnnotateIgnoreWritesEnd(__FILE__, __LINE__);
    AnnotateIgnoreReadsEnd(__FILE__, __LINE__);
  }
#else
  RacyOnPurpose() {}   // NOLINT(modernize-use-equals-default): an unused one would be warned of
  ~RacyOnPurpose() {}  // NOLINT(modernize-use-equals-default)
#endif
  RacyOnPurpose(const RacyOnPurpose&) = delete;
  RacyOnPurpose& operator=(const RacyOnPurpose&) = delete;
};

}  // namespace godwit::testing
