// DeepSeek-V3.2: V3 whose attention sees the tokens that an indexer chooses.

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/deepseek_latent.h"
#include "checkpoint/architectures/reading.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"deepseek_v32"};

void read_deepseek_v32(const JsonFields& fields, ModelConfig& config) {
    require_string(fields, "scoring_func", {"sigmoid"});
    require_string(fields, "topk_method", {"noaux_tc"});
    read_deepseek_sizes(fields, config);
    LatentAttentionConfig attention = read_latent_attention(fields, config);
    attention.indexer = read_indexer(fields, attention);
    for (LayerConfig& layer : config.layers) layer.mixer = attention;
    read_leading_dense_layers(fields, config);
}

}  // namespace

extern constinit const Architecture deepseek_v32_architecture = {
    .name = "deepseek_v32",
    .model_types = kModelTypes,
    .read = read_deepseek_v32,
    .names = kDeepseekNames,
};

}  // namespace sluice
