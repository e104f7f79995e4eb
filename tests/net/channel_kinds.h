// The kinds of channel that the conformance suite runs on, each as a way to make a connected pair.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "net/channel.h"

namespace godwit::testing {

using ChannelPair = std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>>;

struct ChannelKind {
  std::string name;
  std::function<Result<ChannelPair>(const Liveness&)> make;
  bool needs_ipv6 = false;
  bool is_tcp = false;      ///< the kernel tells why a sender waits, and the round trip
  bool adds_bytes = false;  ///< to those that are sent
};

/// A folder of its own under the temporary folder, removed with what is in it.
class TemporaryFolder {
 public:
  TemporaryFolder();
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  ~TemporaryFolder();
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  std::string folder_;
};

/// Listens, connects and accepts, one after the other.
Result<ChannelPair> connect_through(const Address& address, const Liveness& liveness = {});
bool has_ipv6_loopback();
std::vector<ChannelKind> channel_kinds();

}  // namespace godwit::testing
