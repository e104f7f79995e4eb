// Two network namespaces with a link of a chosen bandwidth between them, on this machine; gone with the test.
//
//   source (192.0.2.1) veth ==== tbf ==== veth (192.0.2.2) sink
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"
#include "base/units.h"

namespace godwit::testing {

class NetLab {
 public:
  /// kNoPermission where this user may not make namespaces. Without a rate the link is as fast as the machine.
  static Result<std::unique_ptr<NetLab>> make(BitRate rate = {});
  ~NetLab();
  NetLab(const NetLab&) = delete;
  NetLab& operator=(const NetLab&) = delete;

  int source() const noexcept { return source_.get(); }  ///< a descriptor for setns(2)
  int sink() const noexcept { return sink_.get(); }
  static std::string source_address() { return "192.0.2.1"; }
  static std::string sink_address() { return "192.0.2.2"; }

  /// Takes the link down in both directions without telling either end, as when a cable is pulled beyond a switch.
  Status cut();
  Status repair();
  /// Packets of more than so many bytes are lost on the way, in both directions, without a word to either end: a switch
  /// or a tunnel whose MTU is smaller than that of the hosts. Before anybody uses the link.
  Status lose_packets_above(unsigned bytes);
  /// Whether a packet of the source is answered by the sink within a second.
  bool carries() const;

 private:
  NetLab() = default;
  Status build(BitRate rate);
  std::string source_name_;
  std::string sink_name_;
  UniqueFd source_;
  UniqueFd sink_;
};

}  // namespace godwit::testing
