// The backends of QAT and IAA, against libraries that look like the real ones: what is refused and why, exact blocks in
// any order of answers, and devices that are busy, fail, vanish or hang.
#include <gtest/gtest.h>

#include <set>
#include <thread>

#include "codec/accelerated_decoders.h"
#include "codec/accelerated_encoders.h"
#include "codec/answer_times.h"
#include "tests/codec/blocks.h"
#include "tests/codec/encoder_contract.h"
#include "tests/support/model_accelerator.h"

namespace godwit::accelerator_test {
namespace {

using testing::Buffer;
using testing::Guarded;
using testing::kPage;
using testing::ModelOfDevice;

std::string name_of_device(const ::testing::TestParamInfo<CodecDevice>& info) {
  return info.param == CodecDevice::kQat ? "Qat" : "Iaa";
}

class AcceleratorTest : public ::testing::TestWithParam<CodecDevice> {
 protected:
  void begin(ModelOfDevice::Setting setting = {}, Duration patience = std::chrono::seconds(60),
             Duration least_patience = Duration::max()) {
    model_.emplace(GetParam(), std::move(setting));
    auto opened = model_->open(patience, false, 0, least_patience);
    ASSERT_TRUE(opened) << opened.error().message;
    encoders_.emplace(std::move(*opened), cpu_, [this](std::string_view note) { notes_.emplace_back(note); });
    auto lent = encoders_->lend({.id = CodecId::kDeflate, .level = 1, .device = GetParam()}, 0);
    ASSERT_TRUE(lent) << lent.error().message;
    encoder_ = std::move(*lent);
  }
  void TearDown() override {
    encoder_.reset();
    encoders_.reset();
    model_.reset();
  }
  std::string why_not(const std::string& lacks) {
    const ModelOfDevice model(GetParam(), {{"LACKS", lacks}});
    const auto opened = model.open();
    return opened ? "it was opened" : opened.error().message;
  }

  /// All blocks, as many at once as it takes; each comes back exactly, or goes raw.
  void expect_exact(unsigned count) {
    struct UnderWay {
      Buffer block;
      Guarded output;
    };
    std::map<std::uint64_t, UnderWay> under_way;
    std::vector<EncodeDone> done(7);
    std::uint64_t last = 0;
    const auto decoder = make_decoder(CodecId::kDeflate).value();
    const auto hear = [&](std::size_t heard) {
      for (const EncodeDone& one : std::span(done).first(heard)) {
        if (one.ticket < last) ++reordered_;
        last = std::max(last, one.ticket);
        const auto found = under_way.find(one.ticket);
        ASSERT_NE(found, under_way.end()) << "answered twice, or what was not asked";
        const Buffer& block = found->second.block;
        ASSERT_TRUE(found->second.output.intact());
        ASSERT_LT(one.size, block.size());
        EXPECT_FALSE(one.failed);
        if (one.size > 0) {
          Buffer back(block.size());
          const auto decoded = decoder->decode(found->second.output.room().first(one.size), back);
          ASSERT_TRUE(decoded) << decoded.error().message;
          ASSERT_EQ(back, block);
          ++encoded_;
        }
        under_way.erase(found);
      }
    };
    for (std::uint64_t ticket = 1; ticket <= count; ++ticket) {
      const std::size_t pages = 1 + ticket * 7 % 64;
      const std::size_t size = ticket % 5 == 0 ? pages * 100 : ticket % 9 == 0 ? pages * kPage - 37 : pages * kPage;
      Buffer block = ticket % 3 == 0 ? testing::text(size, ticket) : testing::mixed(size, ticket);
      auto& item = under_way.emplace(ticket, UnderWay{std::move(block), Guarded(size)}).first->second;
      const EncodeJob job{.ticket = ticket, .input = item.block, .output = item.output.room()};
      while (true) {
        const auto taken = encoder_->submit({&job, 1});
        ASSERT_TRUE(taken) << taken.error().message;
        if (*taken == 1) break;
        hear(encoder_->collect(done, {}).value());
        if (HasFatalFailure()) return;
      }
      hear(encoder_->poll(done).value());
      if (HasFatalFailure()) return;
    }
    while (!under_way.empty()) {
      const std::size_t heard = encoder_->collect(done, {}).value();
      ASSERT_GT(heard, 0U) << under_way.size() << " have not been answered";
      hear(heard);
      if (HasFatalFailure()) return;
    }
    EXPECT_EQ(encoder_->collect(done, {}).value(), 0U);
  }

  SoftwareEncoders cpu_;
  std::vector<std::string> notes_;
  std::optional<ModelOfDevice> model_;
  std::optional<AcceleratedEncoders> encoders_;
  std::unique_ptr<Encoder> encoder_;
  unsigned reordered_ = 0;
  unsigned encoded_ = 0;
};

TEST_P(AcceleratorTest, EncodesBlocksThatEveryDestinationDecodes) {
  begin();
  expect_exact(80);
  const AcceleratorUse use = encoders_->use();
  EXPECT_GT(use.blocks, 50U);
  EXPECT_EQ(use.failed, 0U);
  EXPECT_LT(use.bytes_after, use.bytes_before);
  EXPECT_EQ(use.given_up, "");
}

TEST_P(AcceleratorTest, KeepsTheContractOfEncoders) {
  begin({{"ORDER", "random"}});
  testing::expect_contract(*encoder_, CodecId::kDeflate);
}

/// One after the other, each of them while many requests are under way: no byte of theirs is touched afterwards.
TEST_P(AcceleratorTest, EndsWithRequestsUnderWay) {
  begin({{"LATENCY", "3000"}, {"ORDER", "random"}});
  for (int again = 0; again < 5; ++again) {
    const Buffer block = testing::text(64 * kPage, 1);
    std::vector<Guarded> outputs(8, Guarded(block.size()));
    for (std::size_t i = 0; i < outputs.size(); ++i) {
      const EncodeJob job{.ticket = i, .input = block, .output = outputs[i].room()};
      ASSERT_EQ(encoder_->submit({&job, 1}).value(), 1U);
    }
    encoder_ = encoders_->lend({.id = CodecId::kDeflate, .level = 1, .device = GetParam()}, 0).value();
    const Buffer mark(block.size(), std::byte{0x5c});
    for (Guarded& output : outputs) std::ranges::copy(mark, output.room().data());
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    for (Guarded& output : outputs) EXPECT_TRUE(std::ranges::equal(output.room(), mark)) << "written to after its end";
  }
}

TEST_P(AcceleratorTest, SaysPlainlyThatItIsAModel) {
  begin();
  const AcceleratorFacts& facts = encoders_->facts();
  EXPECT_NE(facts.model, "");
  EXPECT_EQ(facts.name, GetParam() == CodecDevice::kQat ? "qat (MODEL)" : "iaa (MODEL)");
  EXPECT_EQ(facts.name_of_codec(GetParam() == CodecDevice::kQat ? "qat" : "iaa"), facts.name);
  EXPECT_EQ(facts.name_of_codec("zstd"), "zstd");
  EXPECT_NE(facts.text().find("a MODEL and no device"), std::string::npos) << facts.text();
  EXPECT_EQ(facts.direct, GetParam() == CodecDevice::kIaa);
}

TEST_P(AcceleratorTest, AnswersInAnyOrder) {
  begin({{"ORDER", "random"}});
  expect_exact(100);
  EXPECT_GT(reordered_, 0U);
}

/// QATzip answers with an earlier block after a failure, so one is enough. QPL's jobs are made again, and go on.
TEST_P(AcceleratorTest, LosesNothingToABusyDeviceThatFails) {
  begin({{"ORDER", "random"}, {"QUEUE", "3"}, {"BUSY", "20"}, {"ERRORS", "20"}, {"WELL", "12"}},
        std::chrono::seconds(20));
  expect_exact(150);
  EXPECT_GT(encoders_->use().failed, 0U);
  EXPECT_GT(encoders_->use().blocks, 0U);
  EXPECT_EQ(encoders_->use().given_up, GetParam() == CodecDevice::kQat ? "QATzip's status is -2" : "");
}

/// Calls that find no instance, and steps of a request that find the queue full: no failure, and not for ever.
TEST_P(AcceleratorTest, GoesOnWithADeviceThatIsBusyWithin) {
  begin({{"ORDER", "random"}, {"REFUSES", "30"}}, std::chrono::seconds(20));
  expect_exact(150);
  const AcceleratorUse use = encoders_->use();
  EXPECT_GT(use.busy, 0U);
  EXPECT_GT(use.blocks, 20U);
  EXPECT_EQ(use.failed, 0U);
  EXPECT_EQ(use.given_up, "");
}

/// It says that all is well, and the length may be right.
TEST_P(AcceleratorTest, GivesADeviceUpThatAnswersWithAnotherBlock) {
  begin({{"ORDER", "random"}, {"GARBAGE", "20"}, {"WELL", "12"}});
  expect_exact(100);
  EXPECT_NE(encoders_->use().given_up.find("answered with another block"), std::string::npos)
      << encoders_->use().given_up;
  EXPECT_GT(encoders_->use().blocks, 0U);
}

TEST_P(AcceleratorTest, GivesADeviceUpThatVanishesAtAnyPoint) {
  for (const unsigned after : {3U, 4U, 7U, 16U, 40U}) {
    begin({{"ORDER", "random"}, {"VANISHES", std::to_string(after + 4)}});
    if (HasFatalFailure()) return;
    expect_exact(70);
    if (HasFatalFailure()) return;
    EXPECT_NE(encoders_->use().given_up, "") << after;
    EXPECT_EQ(notes_.size(), 1U);
    notes_.clear();
    TearDown();
  }
}

TEST_P(AcceleratorTest, GivesADeviceUpThatHangs) {
  begin({{"HANGS", "20"}}, std::chrono::milliseconds(300));
  expect_exact(60);
  EXPECT_EQ(encoders_->use().given_up, "the device has not answered in time");
}

/// By what it has taken to answer before, a small part of the longest patience.
TEST_P(AcceleratorTest, IsSoonGivenUpWhereItHangs) {
  constexpr Duration kLongest = std::chrono::minutes(5);
  begin({{"HANGS", "20"}}, kLongest, std::chrono::milliseconds(100));
  const auto began = std::chrono::steady_clock::now();
  expect_exact(60);
  EXPECT_EQ(encoders_->use().given_up, "the device has not answered in time");
  TearDown();
  EXPECT_LT(std::chrono::steady_clock::now() - began, kLongest / 4);
}

TEST(AnswerTimes, AreManyTimesWhatAnAnswerTakes) {
  using std::chrono::milliseconds;
  AnswerTimes times(milliseconds(100), milliseconds(5000));
  EXPECT_EQ(times.patience(), milliseconds(5000)) << "nothing is known";
  times.learn(milliseconds(10));
  EXPECT_EQ(times.patience(), milliseconds(640));
  for (int i = 0; i < 20; ++i) times.learn(milliseconds(1));
  EXPECT_EQ(times.patience(), milliseconds(100));
  times.learn(milliseconds(1000));
  EXPECT_LT(times.patience(), milliseconds(1200)) << "one that was heard of late";
  for (int i = 0; i < 1000; ++i) times.learn(milliseconds(1000));
  EXPECT_EQ(times.patience(), milliseconds(5000));
}

TEST_P(AcceleratorTest, RefusesWhatIsNotThereInASentence) {
  EXPECT_NE(why_not("device").find(GetParam() == CodecDevice::kQat ? "finds no QAT device" : "does not support IAA"),
            std::string::npos)
      << why_not("device");
}

INSTANTIATE_TEST_SUITE_P(Devices, AcceleratorTest, ::testing::Values(CodecDevice::kQat, CodecDevice::kIaa),
                         name_of_device);

std::string why_not(CodecDevice device, const std::string& lacks) {
  const ModelOfDevice model(device, {{"LACKS", lacks}});
  const auto opened = model.open();
  return opened ? "it was opened" : opened.error().message;
}

TEST(QatRefused, WithoutInstancesOrMemory) {
  EXPECT_NE(why_not(CodecDevice::kQat, "instances").find("gets no instance"), std::string::npos);
  EXPECT_NE(why_not(CodecDevice::kQat, "memory").find("cannot pin memory"), std::string::npos);
  EXPECT_NE(why_not(CodecDevice::kQat, "driver").find("no driver for pinned memory"), std::string::npos);
}

TEST(QatRefused, WhereTheLibraryQuietlyWorksBySoftware) {
  EXPECT_NE(why_not(CodecDevice::kQat, "software").find("finds no QAT device"), std::string::npos)
      << why_not(CodecDevice::kQat, "software");
}

TEST(Qat, IsGivenUpWhereTheLibraryGoesOnBySoftware) {
  const ModelOfDevice model(CodecDevice::kQat, {{"LACKS", "quiet"}, {"INSTANCES", "1"}});
  SoftwareEncoders cpu;
  AcceleratedEncoders encoders(model.open().value(), cpu, {});
  const auto encoder = encoders.lend({.id = CodecId::kDeflate, .level = 1, .device = CodecDevice::kQat}, 0).value();
  const Buffer block = testing::text(64 * kPage, 1);
  Buffer output(block.size());
  std::vector<EncodeDone> done(1);
  for (std::uint64_t ticket = 0; ticket < 30; ++ticket) {
    const EncodeJob job{.ticket = ticket, .input = block, .output = output};
    ASSERT_EQ(encoder->submit({&job, 1}).value(), 1U);
    ASSERT_EQ(encoder->collect(done, {}).value(), 1U);
    EXPECT_GT(done[0].size, 0U);
  }
  EXPECT_EQ(encoders.use().given_up, "QATzip has gone on by software");
  EXPECT_LT(encoders.use().blocks, 16U) << "what software has done is not the device's";
}

/// QATzip does not decode by a device what is shorter than its threshold.
TEST(Qat, LeavesShortBlocksToTheLibrary) {
  const ModelOfDevice model(CodecDevice::kQat);
  AcceleratedDecoders decoders(model.open(std::chrono::seconds(60), true).value());
  const auto decoder = decoders.lend(CodecId::kDeflate, 0).value();
  const Buffer block(kPage, std::byte{'a'});
  Buffer encoded(kPage);
  const auto encoder = make_encoder({.id = CodecId::kDeflate, .level = 1}).value();
  const EncodeJob job{.input = block, .output = encoded};
  std::vector<EncodeDone> done(1);
  ASSERT_EQ(encoder->submit({&job, 1}).value(), 1U);
  ASSERT_EQ(encoder->collect(done, {}).value(), 1U);
  ASSERT_GT(done[0].size, 0U);
  ASSERT_LT(done[0].size, 128U);
  Buffer back(kPage);
  const DecodeJob asked{.input = Bytes(encoded).first(done[0].size), .output = back};
  EXPECT_EQ(decoder->submit({&asked, 1}).value(), 0U);
  EXPECT_EQ(decoders.use().given_up, "");
}

/// qzGetStatus() says nothing of them.
TEST(Qat, HasAsManyDevicesAsTheHostSays) {
  const ModelOfDevice model(CodecDevice::kQat);
  EXPECT_EQ(model.open().value()->facts().devices, 2U);
}

/// Two lanes', together: QPL's later steps need room there, too.
TEST(Iaa, HasNoMoreRequestsThanTheQueuesHold) {
  const ModelOfDevice model(CodecDevice::kIaa, {{"LATENCY", "20000"}});
  const auto iaa = model.open(std::chrono::seconds(60), false, 4).value();
  const Buffer block = testing::text(kPage, 1);
  std::vector<Buffer> outputs(8, Buffer(kPage));
  const auto one = iaa->queue().value();
  const auto other = iaa->queue().value();
  std::vector<DeviceJob> jobs;
  for (std::size_t i = 0; i < outputs.size(); ++i) jobs.push_back({.ticket = i, .input = block, .output = outputs[i]});
  EXPECT_EQ(one->submit(std::span(jobs).first(3)).value(), 3U);
  EXPECT_EQ(other->submit(std::span(jobs).subspan(3)).value(), 1U);
  std::vector<DeviceDone> done(4);
  std::size_t heard = 0;
  while (heard < 3) heard += one->collect(done, {}).value();
  EXPECT_EQ(other->submit(std::span(jobs).subspan(4)).value(), 3U);
}

TEST(IaaRefused, WithoutAWorkQueue) {
  EXPECT_NE(why_not(CodecDevice::kIaa, "queue").find("no IAA work queue"), std::string::npos);
  EXPECT_NE(why_not(CodecDevice::kIaa, "config").find("libaccel-config"), std::string::npos);
}

TEST(Accelerator, RefusesALibraryThatIsNotThereOrAnother) {
  const auto missing = open_qat({.library = "/nowhere/libqatzip.so"});
  ASSERT_FALSE(missing);
  EXPECT_NE(missing.error().message.find("cannot be loaded"), std::string::npos) << missing.error().message;
  const auto another = open_qat({.library = testing::standin_path(CodecDevice::kIaa)});
  ASSERT_FALSE(another);
  EXPECT_NE(another.error().message.find("it has no qzInit"), std::string::npos) << another.error().message;
}

}  // namespace
}  // namespace godwit::accelerator_test
