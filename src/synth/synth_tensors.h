#pragma once

// The tensors of a synthetic checkpoint: names, shapes, and the distribution of their values.
//
// Random weights alone would route uniformly and no cache could be judged by them. Here the first kLeadColumns channels
// of the residual stream carry a constant, the same for every token, that nothing but queries, keys and routers reads.
// It
//   - favours some experts of each layer over others, since a router's rows are random (a skewed load);
//   - makes attention look at recent tokens (queries and keys share a component that only the distance
//   rotates) and
//     DeltaNet average recent values, so that the stream holds a part that drifts over some ten tokens.
// A router's logits at neighbouring tokens are then as similar as those of published models: about a third of the
// experts recur. The sizes of both parts are kConstantShare and kDriftEnergy in tensor_planner.h.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "synth/synth_presets.h"
#include "tensor/dtype.h"

namespace sluice {

inline constexpr int64_t kLeadColumns = 64;  // one quantization group
inline constexpr int64_t kSynthGroup = 64;   // elements per affine scale

// What stands in a matrix's lead columns: random values as everywhere, or in each row one value.
struct LeadColumns {
    struct Band {
        int64_t begin = 0, end = 0;  // rows, modulo the period
        float value = 0;
    };
    bool random = true;
    float offset = 0;  // where random: added to each
    int64_t period = 1;
    std::vector<Band> bands{};  // rows outside hold 0

    static LeadColumns zeros() { return {.random = false}; }
    static LeadColumns constant(float value) { return {.random = false, .bands = {{0, 1, value}}}; }
    static LeadColumns banded(int64_t period, std::vector<Band> bands) {
        return {.random = false, .period = period, .bands = std::move(bands)};
    }
    float value(int64_t row) const;
};

struct SynthTensor {
    std::string name;            // of a matrix the module's path, of a vector the tensor's full name
    bool full_name = false;      // a matrix whose tensor has no ".weight" (fused experts)
    std::vector<int64_t> shape;  // the last axis is the columns, all before it are rows
    // Matrices, encoded as the checkpoint is:
    float deviation = 0;  // of the random elements; 0: this is a vector
    LeadColumns lead{};
    bool keep_float = false;  // never quantized
    bool eight_bits = false;  // at 8 bits where the others have 4
    bool hole = false;        // zeros that take no room on the drive
    // Vectors, stored as they are:
    DType dtype = DType::kBF16;
    std::vector<float> values{};

    bool is_vector() const { return deviation == 0; }
    int64_t columns() const { return shape.back(); }
    int64_t rows() const;
};

// All tensors, in the order of the layers.
std::vector<SynthTensor> synth_tensors(const SynthShape& shape, SynthEncoding encoding, uint64_t seed);

}  // namespace sluice
