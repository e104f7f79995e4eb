// Our declarations of QATzip and QPL (src/codec/*_abi.h) against the real headers, where tools/fetch_accelerators has
// brought them: sizes, places, values and the calls' types.
#include <gtest/gtest.h>

#include <type_traits>

#include "codec/qatzip_abi.h"
#include "codec/qpl_abi.h"

#if __has_include(<qatzip.h>)
#include <qatzip.h>
#define GODWIT_HAS_QATZIP 1
#endif
#if __has_include(<qpl/qpl.h>)
#include <qpl/qpl.h>
#define GODWIT_HAS_QPL 1
#endif

namespace godwit::real_headers_test {
namespace {

#define SAME_PLACE(Ours, ours, Theirs, theirs) EXPECT_EQ(offsetof(Ours, ours), offsetof(Theirs, theirs)) << #theirs

TEST(RealHeaders, QatzipIsAsDeclared) {
#ifndef GODWIT_HAS_QATZIP
  GTEST_SKIP() << "qatzip.h is not in build/accelerators/include: run tools/fetch_accelerators and build again";
#else
  using qatzip::CommonParameters;
  using qatzip::DeflateParameters;
  EXPECT_EQ(sizeof(qatzip::Session), sizeof(QzSession_T));
  SAME_PLACE(qatzip::Session, device_status, QzSession_T, hw_session_stat);
  SAME_PLACE(qatzip::Session, internal, QzSession_T, internal);
  EXPECT_EQ(sizeof(CommonParameters), sizeof(QzSessionParamsCommon_T));
  SAME_PLACE(CommonParameters, direction, QzSessionParamsCommon_T, direction);
  SAME_PLACE(CommonParameters, level, QzSessionParamsCommon_T, comp_lvl);
  SAME_PLACE(CommonParameters, algorithm, QzSessionParamsCommon_T, comp_algorithm);
  SAME_PLACE(CommonParameters, software_backup, QzSessionParamsCommon_T, sw_backup);
  SAME_PLACE(CommonParameters, request_bytes, QzSessionParamsCommon_T, hw_buff_sz);
  SAME_PLACE(CommonParameters, least_input, QzSessionParamsCommon_T, input_sz_thrshold);
  SAME_PLACE(CommonParameters, request_threshold, QzSessionParamsCommon_T, req_cnt_thrshold);
  SAME_PLACE(CommonParameters, polling, QzSessionParamsCommon_T, polling_mode);
  EXPECT_EQ(sizeof(DeflateParameters), sizeof(QzSessionParamsDeflate_T));
  SAME_PLACE(DeflateParameters, huffman, QzSessionParamsDeflate_T, huffman_hdr);
  SAME_PLACE(DeflateParameters, format, QzSessionParamsDeflate_T, data_fmt);
  EXPECT_EQ(qatzip::kOk, QZ_OK);
  EXPECT_EQ(qatzip::kDuplicate, QZ_DUPLICATE);
  EXPECT_EQ(qatzip::kBufferError, QZ_BUF_ERROR);
  EXPECT_EQ(qatzip::kDataError, QZ_DATA_ERROR);
  EXPECT_EQ(qatzip::kSoftwareNoDevice, QZ_NO_HW);
  EXPECT_EQ(qatzip::kSoftwareNoMemoryDriver, QZ_NO_MDRV);
  EXPECT_EQ(qatzip::kSoftwareNoInstance, QZ_NO_INST_ATTACH);
  EXPECT_EQ(qatzip::kSoftwareLowMemory, QZ_LOW_MEM);
  EXPECT_EQ(qatzip::kUninitialized, QZ_NONE);
  EXPECT_EQ(qatzip::kNoDevice, QZ_NOSW_NO_HW);
  EXPECT_EQ(qatzip::kNoMemoryDriver, QZ_NOSW_NO_MDRV);
  EXPECT_EQ(qatzip::kNoInstance, QZ_NOSW_NO_INST_ATTACH);
  EXPECT_EQ(qatzip::kLowMemory, QZ_NOSW_LOW_MEM);
  EXPECT_EQ(qatzip::kBothDirections, QZ_DIR_BOTH);
  EXPECT_EQ(qatzip::kDynamicHuffman, QZ_DYNAMIC_HDR);
  EXPECT_EQ(qatzip::kRawDeflate, QZ_DEFLATE_RAW);
  EXPECT_EQ(qatzip::kPeriodicalPolling, QZ_PERIODICAL_POLLING);
  EXPECT_EQ(qatzip::kLeastThreshold, QZ_COMP_THRESHOLD_MINIMUM);
  EXPECT_EQ(qatzip::kDeflate, QZ_DEFLATE);
  EXPECT_EQ(qatzip::kPinned, PINNED_MEM);
  EXPECT_EQ(qatzip::kAnyNode, QZ_AUTO_SELECT_NUMA_NODE);
  EXPECT_EQ(qatzip::kDoneBySoftware, QZ_SW_EXECUTION_MASK);
  static_assert(std::is_invocable_r_v<int, decltype(qzCompressCrcExt), QzSession_T*, const unsigned char*, unsigned*,
                                      unsigned char*, unsigned*, unsigned, unsigned long*, std::uint64_t*>);
  static_assert(std::is_invocable_r_v<int, decltype(qzDecompressExt), QzSession_T*, const unsigned char*, unsigned*,
                                      unsigned char*, unsigned*, std::uint64_t*>);
  static_assert(std::is_same_v<decltype(qzMalloc), qatzip::Malloc>);
  static_assert(std::is_same_v<decltype(qzFree), qatzip::Free>);
  static_assert(sizeof(unsigned long) == sizeof(std::uint64_t));
#endif
}

TEST(RealHeaders, QplIsAsDeclared) {
#ifndef GODWIT_HAS_QPL
  GTEST_SKIP() << "qpl/qpl.h is not in build/accelerators/include: run tools/fetch_accelerators and build again";
#else
  using qpl::Job;
  EXPECT_EQ(sizeof(Job), sizeof(qpl_job));
  SAME_PLACE(Job, in, qpl_job, next_in_ptr);
  SAME_PLACE(Job, in_left, qpl_job, available_in);
  SAME_PLACE(Job, out, qpl_job, next_out_ptr);
  SAME_PLACE(Job, out_left, qpl_job, available_out);
  SAME_PLACE(Job, out_total, qpl_job, total_out);
  SAME_PLACE(Job, operation, qpl_job, op);
  SAME_PLACE(Job, flags, qpl_job, flags);
  SAME_PLACE(Job, level, qpl_job, level);
  SAME_PLACE(Job, huffman_table, qpl_job, huffman_table);
  SAME_PLACE(Job, dictionary, qpl_job, dictionary);
  SAME_PLACE(Job, in_total, qpl_job, total_in);
  SAME_PLACE(Job, crc, qpl_job, crc);
  SAME_PLACE(Job, crc64, qpl_job, crc64);
  SAME_PLACE(Job, numa_node, qpl_job, numa_id);
  SAME_PLACE(Job, own, qpl_job, data_ptr);
  EXPECT_EQ(qpl::kHardwarePath, qpl_path_hardware);
  EXPECT_EQ(qpl::kDecompress, qpl_op_decompress);
  EXPECT_EQ(qpl::kCompress, qpl_op_compress);
  EXPECT_EQ(qpl::kDefaultLevel, qpl_default_level);
  EXPECT_EQ(qpl::kFirst, QPL_FLAG_FIRST);
  EXPECT_EQ(qpl::kLast, QPL_FLAG_LAST);
  EXPECT_EQ(qpl::kDynamicHuffman, QPL_FLAG_DYNAMIC_HUFFMAN);
  EXPECT_EQ(qpl::kBeingProcessed, QPL_STS_BEING_PROCESSED);
  EXPECT_EQ(qpl::kMoreOutputNeeded, QPL_STS_MORE_OUTPUT_NEEDED);
  EXPECT_EQ(qpl::kQueuesBusy, QPL_STS_QUEUES_ARE_BUSY_ERR);
  EXPECT_EQ(qpl::kNotSupportedByQueue, QPL_STS_NOT_SUPPORTED_BY_WQ);
  EXPECT_EQ(qpl::kOutputTooShort, QPL_STS_DST_IS_SHORT_ERR);
  EXPECT_EQ(qpl::kOutputOverflow, QPL_STS_INTL_OUTPUT_OVERFLOW);
  EXPECT_EQ(qpl::kHardwareNotSupported, QPL_STS_INIT_HW_NOT_SUPPORTED);
  EXPECT_EQ(qpl::kNoAccelConfig, QPL_STS_INIT_LIBACCEL_NOT_FOUND);
  EXPECT_EQ(qpl::kAccelConfigError, QPL_STS_INIT_LIBACCEL_ERROR);
  EXPECT_EQ(qpl::kNoWorkQueues, QPL_STS_INIT_WORK_QUEUES_NOT_AVAILABLE);
#endif
}

}  // namespace
}  // namespace godwit::real_headers_test
