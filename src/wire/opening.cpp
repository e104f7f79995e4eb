#include "wire/opening.h"

#include "wire/bodies.h"
#include "wire/control_header.h"
#include "wire/greeting_bytes.h"
#include "wire/message_types.h"

namespace godwit::wire {

Opening::Opening() {
  // In pieces: a peer of another kind may send less than a greeting and wait for an answer.
  expect(Part::kMagic, kMagicSize);
}

void Opening::expect(Part part, std::size_t bytes) {
  part_ = part;
  bytes_.resize(bytes);
}

MutableBytes Opening::room() noexcept {
  return complete_ ? MutableBytes{} : MutableBytes(bytes_).subspan(have_);
}

Status Opening::advance(std::size_t bytes) {
  have_ += bytes;
  while (!complete_ && have_ == bytes_.size()) TRY(finish_part());
  return {};
}

Status Opening::finish_part() {
  switch (part_) {
    case Part::kMagic:
      TRY(check_greeting(bytes_));
      from_godwit_ = true;
      expect(Part::kVersioned, kVersionedSize);
      return {};
    case Part::kVersioned:
      TRY(check_greeting(bytes_));
      expect(Part::kGreeting, kGreetingSize);
      return {};
    case Part::kGreeting:
      greeting_ = TRY(parse_greeting(bytes_));
      complete_ = greeting_->role != Role::kControl;
      have_ = 0;
      expect(Part::kHeader, kHeaderSize);
      return {};
    case Part::kHeader:
      return read_header();
    case Part::kBody:
      hello_ = TRY(decode_hello(bytes_));
      complete_ = true;
      return {};
  }
  return {};
}

Status Opening::read_header() {
  const Header header = TRY(decode_header(bytes_));
  if (header.type != static_cast<std::uint16_t>(MessageType::kHello)) {
    return fail(ErrorKind::kProtocol, "its first message was not Hello");
  }
  if (header.length == 0) return fail(ErrorKind::kProtocol, "its Hello is empty");
  have_ = 0;
  expect(Part::kBody, header.length);
  return {};
}

}  // namespace godwit::wire
