#include "tests/support/tiny_shapes.h"

#include <algorithm>
#include <stdexcept>

namespace sluice::testing {

SynthShape tiny_shape(const std::string& preset, int64_t layers) {
    const auto& shapes = synth_shapes();
    const auto found = std::ranges::find(shapes, preset, &SynthShape::name);
    if (found == shapes.end()) throw std::invalid_argument("no preset " + preset);
    SynthShape shape = cut_layers(*found, layers);
    ModelConfig& config = shape.config;
    config.hidden_size = 192;
    config.vocabulary = 512;
    if (shape.dense_intermediate > 0) shape.dense_intermediate = 128;
    change_blocks<DenseMlpConfig>(config, [](DenseMlpConfig& mlp) { mlp.intermediate = 128; });
    change_blocks<MixtureConfig>(config, [](MixtureConfig& mixture) {
        mixture.experts = 16;
        mixture.experts_per_token = 4;
        mixture.routing.groups = std::min<int64_t>(mixture.routing.groups, 4);
        mixture.routing.groups_kept = std::min<int64_t>(mixture.routing.groups_kept, 2);
        mixture.intermediate = 64;
        if (mixture.shared_intermediate > 0) mixture.shared_intermediate = 64;
    });
    const auto shrink = [](GroupedAttentionConfig& attention) {
        attention.heads = 4;
        attention.kv_heads = 2;
    };
    change_blocks<GroupedAttentionConfig>(config, shrink);
    if (shape.cut_attention) shrink(*shape.cut_attention);
    change_blocks<LatentAttentionConfig>(config, [](LatentAttentionConfig& attention) {
        attention.heads = 4;
        attention.query_rank = attention.key_value_rank = 128;
    });
    change_blocks<GatedDeltaNetConfig>(config, [](GatedDeltaNetConfig& net) {
        net.key_heads = 2;
        net.value_heads = 4;
    });
    for (LayerConfig& layer : config.layers) {
        if (!layer.ngrams.any()) continue;
        NGramHash& hash = layer.ngrams.hash;
        hash.multipliers = ngram_multipliers(config.vocabulary, hash.longest(), 0, 1234);
        hash.head_rows = primes_from(101, 0, hash.heads());
        hash.head_offsets = offsets_of(hash.head_rows);
        layer.ngrams.table_rows = (hash.head_offsets.back() + hash.head_rows.back() + 127) / 128 * 128;
        layer.ngrams.parts = 12;
    }
    return shape;
}

std::vector<std::string> files_in(const std::filesystem::path& folder) {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
        names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    return names;
}

}  // namespace sluice::testing
