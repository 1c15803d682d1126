// Qwen3-Next-80B-A3B.

#include "checkpoint/architectures/qwen_hybrid.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"qwen3_next"};
constexpr std::string_view kGgufNames[] = {"qwen3next"};

void read_qwen3_next(const JsonFields& fields, ModelConfig& config) {
    read_qwen_hybrid_mixers(fields, config);
    read_sparse_layers(fields, true, config);
    read_gated_shared_expert(fields, config);
}

}  // namespace

extern constinit const Architecture qwen3_next_architecture = {
    .name = "qwen3_next",
    .model_types = kModelTypes,
    .read = read_qwen3_next,
    .names = kQwenHybridNames,
    .norms = NormStorage::kOffset,
    .gguf = {.architectures = kGgufNames, .write_config = write_qwen_hybrid, .names = kQwenHybridGgufNames},
};

}  // namespace sluice
