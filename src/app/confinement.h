// What each command may still do: little from its start on, less once it has opened what it works on.
//
//   start --to_open: no_new_privs, and capabilities are given up--> send: the guest is tracked; receive: it listens
//         --at_work: more of them are, and calls that are never made are denied--> until the end
//
// docs/privileges.md says which capability is for what.
#pragma once

#include "base/capabilities.h"

namespace godwit {

struct NeededRights {
  CapabilitySet to_open;
  CapabilitySet at_work;  ///< a part of to_open
};

/// `godwit send`; `by_ssh`: it has a remote shell, which may be another user's, to end.
NeededRights rights_of_send(bool by_ssh);
/// `godwit receive`, once or with --keep.
NeededRights rights_of_receive();
/// `godwit probe`; it never gets to "at work".
NeededRights rights_of_probe();

/// Both act on all threads and never fail a move: where the kernel says no they say so in a note, and the command goes
/// on with more rights than it needs.
void limit_to_open(const NeededRights& rights);
void limit_at_work(const NeededRights& rights);

}  // namespace godwit
