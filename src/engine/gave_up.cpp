#include "engine/gave_up.h"

namespace godwit {

Error why_the_sink_gave_up(const wire::Abort& abort) {
  return {.kind = error_kind_from(abort.kind).value_or(ErrorKind::kRefused),
          .message = "the destination gave up: " + abort.reason,
          .at_peer = true};
}

}  // namespace godwit
