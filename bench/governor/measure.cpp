#include "measure.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <limits>
#include <memory>
#include <thread>

#include "base/unique_fd.h"
#include "codec/codec.h"
#include "corpus.h"
#include "engine/block_sample.h"
#include "engine/codec_levels.h"

namespace godwit::bench {

namespace {

constexpr int kTries = 3;

double thread_cpu_ns() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

struct Codec {
  std::unique_ptr<Encoder> encoder;  ///< none for raw
  std::unique_ptr<Decoder> decoder;
};

/// Encodes a block, 0 if it did not get smaller, into `out`.
Result<std::size_t> encode(Encoder& encoder, Bytes input, MutableBytes out) {
  const EncodeJob job{.ticket = 0, .input = input, .output = out};
  TRY(encoder.submit({&job, 1}));
  EncodeDone done;
  TRY(encoder.collect({&done, 1}, {}));
  return done.size;
}

/// CPU time per byte of a thread that writes, the least of many stretches.
Result<double> measure_connection(Bytes corpus) {
  const UniqueFd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof(address);
  auto* const generic = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener.get(), generic, length) != 0 || listen(listener.get(), 1) != 0 ||
      getsockname(listener.get(), generic, &length) != 0) {
    return fail(ErrorKind::kIo, "cannot listen on loopback", errno);
  }
  const UniqueFd out(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (connect(out.get(), generic, length) != 0) return fail(ErrorKind::kIo, "cannot connect to loopback", errno);
  const UniqueFd in(accept(listener.get(), nullptr, nullptr));
  std::jthread reader([&] {
    std::vector<std::byte> room(4 * kBlock);
    while (read(in.get(), room.data(), room.size()) > 0) {
    }
  });
  // In short stretches, of which some go undisturbed.
  constexpr std::size_t kStretch = 16 * kBlock;
  double least = std::numeric_limits<double>::infinity();
  for (std::size_t at = 0; at + kStretch <= corpus.size(); at += kStretch) {
    const double begin = thread_cpu_ns();
    for (Bytes left = corpus.subspan(at, kStretch); !left.empty();) {
      const ssize_t n = write(out.get(), left.data(), std::min(left.size(), kBlock));
      if (n <= 0) return fail(ErrorKind::kIo, "cannot write over loopback", errno);
      left = left.subspan(static_cast<std::size_t>(n));
    }
    least = std::min(least, (thread_cpu_ns() - begin) / static_cast<double>(kStretch));
  }
  shutdown(out.get(), SHUT_WR);
  return least;
}

}  // namespace

Result<std::vector<simulation::Block>> measure_levels(Bytes corpus) {
  std::vector<Codec> codecs;
  for (const CodecChoice& choice : codec_levels()) {
    codecs.push_back({TRY(make_encoder(choice)), TRY(make_decoder(choice.id))});
  }
  std::vector<simulation::Block> blocks(corpus.size() / kBlock);
  std::vector<std::byte> copy(kBlock);
  std::vector<std::byte> encoded(kBlock);
  std::vector<std::byte> decoded(kBlock);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const Bytes input = corpus.subspan(i * kBlock, kBlock);
    blocks[i].bytes = kBlock;
    blocks[i].entropy = sampled_entropy(input);
    for (auto& on : blocks[i].on) on = {.wire = kBlock, .ns = std::numeric_limits<double>::infinity()};
    blocks[i].on[0].ns = 0;
    for (int attempt = 0; attempt < kTries; ++attempt) {
      for (std::size_t level = 1; level < codecs.size(); ++level) {
        std::ranges::copy(input, copy.begin());  // into the caches, where a lane's block is
        const double begin = thread_cpu_ns();
        const std::size_t size = TRY(encode(*codecs[level].encoder, copy, encoded));
        auto& on = blocks[i].on[level];
        on.ns = std::min(on.ns, thread_cpu_ns() - begin);
        on.wire = size != 0 ? size : kBlock;
        if (attempt != 0 || size == 0) continue;
        TRY(codecs[level].decoder->decode(Bytes(encoded).first(size), decoded));
        if (!std::ranges::equal(decoded, input)) {
          return fail(ErrorKind::kProtocol,
                      format_codec(codec_levels()[level]) + " does not give back what it was given");
        }
      }
    }
  }
  return blocks;
}

Result<std::array<double, kCodecLevels>> measure_ns_per_block(Bytes corpus, std::span<const simulation::Block> blocks) {
  constexpr std::size_t kPage = 4096;
  constexpr std::size_t kPages = 16;  // of each block: the clock is read once for all of them
  std::array<double, kCodecLevels> more{};
  std::vector<std::byte> copy(kBlock);
  std::vector<std::byte> encoded(kBlock);
  for (std::size_t level = 1; level < kCodecLevels; ++level) {
    const auto encoder = TRY(make_encoder(codec_levels()[level]));
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      std::ranges::copy(corpus.subspan(i * kBlock, kBlock), copy.begin());
      double least = std::numeric_limits<double>::infinity();
      for (int attempt = 0; attempt < kTries; ++attempt) {
        const double begin = thread_cpu_ns();
        for (std::size_t page = 0; page < kPages; ++page) {
          TRY(encode(*encoder, Bytes(copy).subspan(page * kBlock / kPages, kPage), encoded));
        }
        least = std::min(least, thread_cpu_ns() - begin);
      }
      const double of_its_bytes = blocks[i].on[level].ns * kPage / kBlock;
      more[level] += (least / kPages - of_its_bytes) / static_cast<double>(blocks.size());
    }
  }
  return more;
}

Result<double> measure_send_ns_per_byte(Bytes corpus) {
  // Over loopback, who does the receiver's part of the kernel's work differs from connection to connection.
  constexpr int kConnections = 12;
  std::vector<double> each;
  for (int i = 0; i < kConnections; ++i) each.push_back(TRY(measure_connection(corpus.first(corpus.size() / 4))));
  std::ranges::sort(each);
  return each[kConnections / 2];
}

double measure_copy_ns_per_byte(Bytes corpus) {
  std::vector<std::byte> buffer(kBlock);
  double least = std::numeric_limits<double>::infinity();
  for (int attempt = 0; attempt < 3 * kTries; ++attempt) {
    const double begin = thread_cpu_ns();
    for (std::size_t at = 0; at + kBlock <= corpus.size(); at += kBlock) {
      std::memcpy(buffer.data(), corpus.data() + at, kBlock);
      // The compiler must not see that nobody reads the copy.
      asm volatile("" : : "r"(buffer.data()) : "memory");
    }
    least = std::min(least, (thread_cpu_ns() - begin) / static_cast<double>(corpus.size()));
  }
  return least;
}

}  // namespace godwit::bench
