// Memory that is never freed, because a device that has not answered may still use it.
#pragma once

// Of the leak checker, where a build has it.
extern "C" __attribute__((weak)) void __lsan_ignore_object(const void* object);

namespace godwit {

inline void leave_behind(const void* memory) {
  if (__lsan_ignore_object != nullptr) __lsan_ignore_object(memory);
}

}  // namespace godwit
