// A channel that passes everything on to another one: for those of tests that do one thing differently.
#pragma once

#include <memory>

#include "net/channel.h"

namespace godwit::testing {

class PassingChannel : public Channel {
 public:
  explicit PassingChannel(std::unique_ptr<Channel> inner) : inner_(std::move(inner)) {}
  Status write(std::span<const iovec> parts, const Deadline& until) override { return inner_->write(parts, until); }
  Result<std::size_t> read(MutableBytes room, std::size_t at_least, const Deadline& until) override {
    return inner_->read(room, at_least, until);
  }
  Status shut_down() override { return inner_->shut_down(); }
  void abort() noexcept override { inner_->abort(); }
  Link& link() noexcept override { return inner_->link(); }

 protected:
  Channel& inner() noexcept { return *inner_; }

 private:
  std::unique_ptr<Channel> inner_;
};

}  // namespace godwit::testing
