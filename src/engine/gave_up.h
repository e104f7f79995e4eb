// What the source makes of a sink's Abort.
#pragma once

#include "base/result.h"
#include "wire/messages.h"

namespace godwit {

/// Of the kind that the sink names, so that the report and the advice fit; kRefused where that kind is unknown here.
Error why_the_sink_gave_up(const wire::Abort& abort);

}  // namespace godwit
