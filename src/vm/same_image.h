// Whether two sides' images are one and the same.
#pragma once

#include <string_view>

#include "vm/disk.h"

namespace godwit {

enum class Verdict { kSame, kOther, kUnknown };

/// By what the images are called and what they are; the content is not asked.
Verdict by_identity(const Disk& a, const Disk& b, bool same_host);

/// By all that is known.
Verdict compare(const Disk& a, const Disk& b, bool same_host, const SampleMatch& match);

/// Equal wherever it was looked at, and it was looked at.
bool agrees(const SampleMatch& match);

/// Whether the guest's bytes lie alike in two formats: a node of the driver "file" holds what one of "raw" on it shows.
bool same_layout(std::string_view a, std::string_view b);

}  // namespace godwit
