// Where what a library throws becomes an error: no thread can be started, there is no memory.
#pragma once

#include <exception>
#include <new>
#include <string>
#include <system_error>
#include <type_traits>
#include <utility>

#include "base/result.h"

namespace godwit {

/// What `act`, which gives a Result, gives; kIo in the place of an exception.
template <typename Act>
std::invoke_result_t<Act> without_exceptions(Act&& act) noexcept {
  try {
    return std::forward<Act>(act)();
  } catch (const std::system_error& thrown) {
    // Mostly a thread: a limit of the control group (pids.max) or of the user is reached.
    return fail(ErrorKind::kIo, std::string("this host gives no thread, or no other resource: ") + thrown.what(),
                thrown.code().value());
  } catch (const std::bad_alloc&) {
    return fail(ErrorKind::kIo, "this host has no memory left");
  } catch (const std::exception& thrown) {
    return fail(ErrorKind::kIo, std::string("unexpected: ") + thrown.what());
  }
}

}  // namespace godwit
