// TLS 1.3 around a connection.
//
//   write() -> pieces of a record's length -> [TlsSession] -> inner channel
//   read()  <- as much as is wanted <-------- [TlsSession] <- inner channel, 128 KiB at a time
//
// A lane writes and reads on different threads: one lock for the session, held while bytes are encrypted or decrypted,
// and one for the order on the wire, held by whoever writes to the inner channel.
#pragma once

#include <memory>

#include "net/wrap.h"
#include "tls/tls_context.h"

namespace godwit {

/// For a side that connects: the handshake is waited for, for no longer than this.
Wrap tls_connected(std::shared_ptr<TlsContext> context, Duration handshake_timeout = std::chrono::seconds(10));
/// For a side that is connected to: the handshake goes on in read(). A peer that sends in the clear is refused, and
/// what is written to it goes out in the clear, so that it can be told why.
Wrap tls_accepted(std::shared_ptr<TlsContext> context);

}  // namespace godwit
