#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "synth/synth_tensors.h"
#include "tensor/weight_format.h"

namespace sluice {

enum class SynthPart { kValues, kData, kScales, kZeroPoints };

// One tensor of the file: a vector, or one part of an encoded matrix.
struct SynthStored {
    SafetensorsWriter::Declaration declaration;
    const SynthTensor* tensor = nullptr;
    SynthPart part = SynthPart::kValues;
    WeightFormat format;  // of the matrix
    int64_t rows = 0;
    uint64_t row_bytes = 0;  // of this part
};

// The tensors that hold `tensor` in this encoding; `tensor` must outlive them.
std::vector<SynthStored> stored_tensors(const SynthTensor& tensor, SynthEncoding encoding);

// Rows that are filled at once: part of what decides the random values, so the same on every machine.
int64_t fill_rows(const SynthStored& stored);
// Writes rows [first, first + count) to `out`; `first` is a multiple of fill_rows. The same seed gives the same bytes.
void fill(const SynthStored& stored, uint64_t seed, int64_t first, int64_t count, std::span<std::byte> out);

}  // namespace sluice
