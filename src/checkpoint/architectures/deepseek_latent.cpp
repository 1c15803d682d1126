#include "checkpoint/architectures/deepseek_latent.h"

#include "checkpoint/architectures/reading.h"
#include "checkpoint/rotary_config.h"

namespace sluice {

void read_deepseek_sizes(const JsonFields& fields, ModelConfig& config) {
    refuse_true(fields, "mlp_bias");
    refuse_true(fields, "use_sliding_window");
    if (fields.integer_or("moe_layer_freq", 1, 1, kMostLayers) != 1) {
        fields.reject(ErrorCode::kUnsupported, "moe_layer_freq", "only 1 is supported");
    }
    read_sizes(fields, config);
}

LatentAttentionConfig read_latent_heads(const JsonFields& fields, int64_t least_rope_dim) {
    LatentAttentionConfig attention;
    attention.heads = fields.integer("num_attention_heads", 1, kLargestSize);
    attention.query_rank = fields.integer_or("q_lora_rank", 0, 0, kLargestSize);
    attention.key_value_rank = fields.integer("kv_lora_rank", 1, kLargestSize);
    attention.nope_dim = fields.integer("qk_nope_head_dim", 1, kLargestSize);
    attention.rope_dim = fields.integer("qk_rope_head_dim", least_rope_dim, kLargestSize);
    attention.value_dim = fields.integer("v_head_dim", 1, kLargestSize);
    attention.projection_bias = fields.boolean_or("attention_bias", false);
    if (attention.rope_dim % 2 != 0) {
        fields.reject(ErrorCode::kInvalidFile, "qk_rope_head_dim", "{} is odd", attention.rope_dim);
    }
    return attention;
}

LatentAttentionConfig read_latent_attention(const JsonFields& fields, const ModelConfig& config) {
    LatentAttentionConfig attention = read_latent_heads(fields);
    attention.rotary = read_rotary(fields, attention.rope_dim, config.max_positions);
    attention.rotary.interleaved = fields.boolean_or("rope_interleave", true);
    return attention;
}

IndexerConfig read_indexer(const JsonFields& fields, const LatentAttentionConfig& attention) {
    if (attention.query_rank == 0) {
        fields.reject(ErrorCode::kInvalidFile, "q_lora_rank", "missing: the indexer reads the query's latent");
    }
    return read_index_heads(fields, attention.rope_dim);
}

}  // namespace sluice
