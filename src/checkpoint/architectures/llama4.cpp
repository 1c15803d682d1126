// Llama-4-Scout, Maverick without their eyes: attention within chunks in most layers, without positions in the others,
// one expert for a token beside a shared one, weighed before it works.

#include <algorithm>

#include <nlohmann/json.hpp>

#include "checkpoint/architecture.h"
#include "checkpoint/architectures/reading.h"
#include "checkpoint/gguf_config.h"

namespace sluice {

namespace {

constexpr std::string_view kModelTypes[] = {"llama4_text", "llama4"};
constexpr std::string_view kGgufArchitectures[] = {"llama4"};

constexpr NameRule kNames[] = {
    {Role::kDenseGate, "feed_forward.gate_proj"},
    {Role::kDenseUp, "feed_forward.up_proj"},
    {Role::kDenseDown, "feed_forward.down_proj"},
    {Role::kRouter, "feed_forward.router"},
    {Role::kSharedGate, "feed_forward.shared_expert.gate_proj"},
    {Role::kSharedUp, "feed_forward.shared_expert.up_proj"},
    {Role::kSharedDown, "feed_forward.shared_expert.down_proj"},
};

// Where the config does not say.
constexpr int64_t kChunk = 8192;
// One layer in so many is without rotary positions where the config does not list them.
constexpr int64_t kStillEvery = 4;

GroupedAttentionConfig read_chunk_layers(const JsonFields& fields, const ModelConfig& config) {
    GroupedAttentionConfig attention = read_grouped_attention(fields, config);
    attention.rotary.interleaved = true;
    const bool normed = fields.boolean_or("use_qk_norm", true);
    attention.query_key_norm = normed ? QueryKeyNorm::kUnit : QueryKeyNorm::kNone;
    attention.chunk = fields.integer_or("attention_chunk_size", kChunk, 1, kLargestSize);
    return attention;
}

GroupedAttentionConfig read_still_layers(const JsonFields& fields, GroupedAttentionConfig attention) {
    attention.rotary = {};
    attention.query_key_norm = QueryKeyNorm::kNone;
    attention.chunk = 0;
    // Published as a number where it is on.
    const bool tuned = !fields.has("attn_temperature_tuning") || fields.raw()["attn_temperature_tuning"] != false;
    if (!tuned) return attention;
    attention.temperature = {.factor = fields.number_or("attn_scale", 0.1),
                             .interval = fields.number_or("floor_scale", 8192)};
    if (attention.temperature.interval < 1) {
        fields.reject(ErrorCode::kInvalidFile, "floor_scale", "{} is below 1", attention.temperature.interval);
    }
    return attention;
}

MixtureConfig read_weighed_mixture(const JsonFields& fields) {
    MixtureConfig mixture = read_mixture(fields, "intermediate_size", false);
    mixture.routing = {.score = Routing::Score::kSigmoid, .normalize = false};
    mixture.weighed_input = true;
    mixture.shared_intermediate = mixture.intermediate;
    return mixture;
}

// Layers of which `list` has a 0.
std::vector<bool> read_still(const JsonFields& fields, const ModelConfig& config) {
    constexpr std::string_view kName = "no_rope_layers";
    const std::vector<int64_t> rotated = fields.integers(kName);
    if (!rotated.empty() && rotated.size() != config.layers.size()) {
        fields.reject(ErrorCode::kInvalidFile, kName, "{} entries, but num_hidden_layers is {}", rotated.size(),
                      config.layers.size());
    }
    const int64_t interval = fields.integer_or("no_rope_layer_interval", kStillEvery, 1, kMostLayers);
    std::vector<bool> still;
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
        still.push_back(rotated.empty() ? (layer + 1) % interval == 0 : rotated[static_cast<size_t>(layer)] == 0);
    }
    return still;
}

void read_llama4(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "attention_bias");
    read_sizes(fields, config);
    const GroupedAttentionConfig chunk = read_chunk_layers(fields, config);
    const GroupedAttentionConfig still = read_still_layers(fields, chunk);
    const MixtureConfig mixture = read_weighed_mixture(fields);
    const std::vector<bool> is_still = read_still(fields, config);
    const std::vector<int64_t> listed = fields.integers("moe_layers");
    const int64_t step = fields.integer_or("interleave_moe_layer_step", 1, 1, kMostLayers);
    for (int64_t layer = 0; layer < config.layer_count(); ++layer) {
        const bool sparse = listed.empty() ? (layer + 1) % step == 0 : std::ranges::find(listed, layer) != listed.end();
        LayerConfig& block = config.layers[static_cast<size_t>(layer)];
        block.mixer = is_still[static_cast<size_t>(layer)] ? still : chunk;
        if (sparse) {
            block.feed_forward = mixture;
        } else {
            block.feed_forward = DenseMlpConfig{
                .intermediate = fields.integer("intermediate_size_mlp", 1, kLargestSize),
                .activation = mixture.activation,
            };
        }
    }
}

// Chunks and temperature are those of every published model, and so are norms of query and key where it is not
// Maverick: the file says nothing else.
void write_llama4(const GgufHyperparameters& from, nlohmann::json& config) {
    constexpr int64_t kMaverickExperts = 128;
    write_sizes(from, config);
    write_grouped_attention(from, config);
    write_frequency_divisors(from, config);
    write_experts(from, config);
    config["use_qk_norm"] = from.integer("expert_count") != kMaverickExperts;
    config["intermediate_size"] = expert_intermediate(from);
    config["intermediate_size_mlp"] = from.integer("feed_forward_length");
    config["interleave_moe_layer_step"] = from.integer_or("interleave_moe_layer_step", 1);
}

}  // namespace

extern constinit const Architecture llama4_architecture = {
    .name = "llama4",
    .model_types = kModelTypes,
    .read = read_llama4,
    .names = kNames,
    .experts = {.each = "feed_forward.experts.", .stacked = "feed_forward.switch_mlp.", .floats_transposed = true},
    .gguf = {.architectures = kGgufArchitectures, .write_config = write_llama4},
};

}  // namespace sluice
