#pragma once

// The rows of the table of device codecs, each made in the file that has its decoder.

#include "backend/cuda/linear.h"

namespace sluice::cuda {

extern const DeviceCodec kF32OnDevice, kF16OnDevice, kBf16OnDevice;
extern const DeviceCodec kFp8BlockOnDevice, kMxfp4OnDevice, kMxfp8OnDevice, kNvfp4OnDevice;
extern const DeviceCodec kAffine2OnDevice, kAffine3OnDevice, kAffine4OnDevice, kAffine5OnDevice, kAffine6OnDevice,
    kAffine8OnDevice;
extern const DeviceCodec kQ8_0OnDevice, kQ4_0OnDevice, kQ4_1OnDevice, kQ5_0OnDevice, kQ5_1OnDevice;
extern const DeviceCodec kQ2_KOnDevice, kQ3_KOnDevice, kQ4_KOnDevice, kQ5_KOnDevice, kQ6_KOnDevice;
extern const DeviceCodec kIq4NlOnDevice, kIq4XsOnDevice, kIq3XxsOnDevice, kIq3SOnDevice, kIq2XxsOnDevice,
    kIq2XsOnDevice, kIq2SOnDevice, kIq1SOnDevice, kIq1MOnDevice;
extern const DeviceCodec kMxfp4BlockOnDevice, kNvfp4BlockOnDevice, kScaledNvfp4BlockOnDevice;
extern const DeviceCodec kTq1_0OnDevice, kTq2_0OnDevice, kQ1_0OnDevice, kQ2_0OnDevice;

}  // namespace sluice::cuda
