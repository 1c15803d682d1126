#include "tests/support/gguf_twin.h"

#include <cmath>
#include <map>
#include <set>

#include "checkpoint/architecture.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_layout.h"
#include "tensor/codecs.h"

namespace sluice::testing {

namespace {

using Rows = std::vector<std::vector<float>>;

const std::map<Role, std::string> kNames = {
    {Role::kEmbedding, "token_embd.weight"},
    {Role::kFinalNorm, "output_norm.weight"},
    {Role::kHead, "output.weight"},
    {Role::kMixerNorm, "attn_norm.weight"},
    {Role::kFeedForwardNorm, "ffn_norm.weight"},
    {Role::kQuery, "attn_q.weight"},
    {Role::kKey, "attn_k.weight"},
    {Role::kValue, "attn_v.weight"},
    {Role::kOutput, "attn_output.weight"},
    {Role::kQueryNorm, "attn_q_norm.weight"},
    {Role::kKeyNorm, "attn_k_norm.weight"},
    {Role::kLinearQkv, "attn_qkv.weight"},
    {Role::kLinearZ, "attn_gate.weight"},
    {Role::kLinearB, "ssm_beta.weight"},
    {Role::kLinearA, "ssm_alpha.weight"},
    {Role::kLinearBa, "ssm_ba.weight"},
    {Role::kLinearConv, "ssm_conv1d.weight"},
    {Role::kLinearALog, "ssm_a"},
    {Role::kLinearDtBias, "ssm_dt.bias"},
    {Role::kLinearNorm, "ssm_norm.weight"},
    {Role::kLinearOutput, "ssm_out.weight"},
    {Role::kQueryLatent, "attn_q_a.weight"},
    {Role::kQueryLatentNorm, "attn_q_a_norm.weight"},
    {Role::kQueryFromLatent, "attn_q_b.weight"},
    {Role::kKeyValueLatent, "attn_kv_a_mqa.weight"},
    {Role::kKeyValueLatentNorm, "attn_kv_a_norm.weight"},
    {Role::kDenseGate, "ffn_gate.weight"},
    {Role::kDenseUp, "ffn_up.weight"},
    {Role::kDenseDown, "ffn_down.weight"},
    {Role::kRouter, "ffn_gate_inp.weight"},
    {Role::kRouterCorrection, "exp_probs_b.bias"},
    {Role::kSharedGate, "ffn_gate_shexp.weight"},
    {Role::kSharedUp, "ffn_up_shexp.weight"},
    {Role::kSharedDown, "ffn_down_shexp.weight"},
    {Role::kSharedExpertGate, "ffn_gate_inp_shexp.weight"},
};

const std::map<std::string_view, std::string> kArchitectures = {
    {"qwen3_moe", "qwen3moe"},    {"qwen3_next", "qwen3next"}, {"qwen3_5_moe", "qwen35moe"},
    {"deepseek_v3", "deepseek2"}, {"mixtral", "llama"},        {"olmoe", "olmoe"},
};

class Twin {
  public:
    Twin(const std::filesystem::path& model, TwinType type)
        : checkpoint_(Checkpoint::open(model)),
          config_(checkpoint_->config()),
          name_(kArchitectures.at(config_.architecture->name)),
          type_(type) {}

    GgufWriter make() {
        writer_.add("general.architecture", name_);
        write_sizes();
        for (const LayerConfig& layer : config_.layers)
            std::visit([this](const auto& mixer) { write(mixer); }, layer.mixer);
        write_layer_kinds();
        write_mixture();
        for (const TrunkWeight& weight : checkpoint_->trunk()) add_trunk(weight);
        for (int layer = 0; layer < config_.layer_count(); ++layer) add_experts(layer);
        return std::move(writer_);
    }

  private:
    // ---- metadata

    template <typename T>
    void key(const std::string& name, T value) {
        if (written_.insert(name).second) writer_.add(name_ + "." + name, value);
    }
    void size(const std::string& name, int64_t value) { key(name, static_cast<uint32_t>(value)); }

    void write_sizes() {
        size("block_count", config_.layer_count());
        size("context_length", config_.max_positions);
        size("embedding_length", config_.hidden_size);
        size("vocab_size", config_.vocabulary);
        key("attention.layer_norm_rms_epsilon", static_cast<float>(config_.rms_norm_epsilon));
    }

    void write(const RotaryConfig& rotary) {
        size("rope.dimension_count", rotary.dims);
        key("rope.freq_base", static_cast<float>(rotary.theta));
        if (!rotary.yarn) return;
        key("rope.scaling.type", "yarn");
        key("rope.scaling.factor", static_cast<float>(rotary.factor));
        size("rope.scaling.original_context_length", rotary.original_positions);
        key("rope.scaling.yarn_log_multiplier", static_cast<float>(0.1 * rotary.mscale_all_dim));
    }

    void write(const GroupedAttentionConfig& attention) {
        size("attention.head_count", attention.heads);
        size("attention.head_count_kv", attention.kv_heads);
        size("attention.key_length", attention.head_dim);
        size("attention.value_length", attention.head_dim);
        write(attention.rotary);
    }

    void write(const LatentAttentionConfig& attention) {
        size("attention.head_count", attention.heads);
        size("attention.head_count_kv", 1);
        size("attention.q_lora_rank", attention.query_rank);
        size("attention.kv_lora_rank", attention.key_value_rank);
        size("attention.key_length", attention.key_value_rank + attention.rope_dim);
        size("attention.value_length", attention.key_value_rank);
        size("attention.key_length_mla", attention.nope_dim + attention.rope_dim);
        size("attention.value_length_mla", attention.value_dim);
        write(attention.rotary);
    }

    // Of families that GGUF files are not read of.
    void write(const CompressedAttentionConfig&) {}
    void write(const SelectiveScanConfig&) {}
    void write(const NoMixer&) {}

    void write(const GatedDeltaNetConfig& net) {
        size("ssm.conv_kernel", net.kernel);
        size("ssm.state_size", net.key_dim);
        size("ssm.group_count", net.key_heads);
        size("ssm.time_step_rank", net.value_heads);
        size("ssm.inner_size", net.value_width());
    }

    void write_layer_kinds() {
        if (first_block<GatedDeltaNetConfig>(config_) == nullptr) return;
        std::vector<bool> recurrent;
        for (const LayerConfig& layer : config_.layers) {
            recurrent.push_back(block_of<GatedDeltaNetConfig>(layer) != nullptr);
        }
        writer_.add_flags(name_ + ".attention.recurrent_layers", recurrent);
    }

    void write_mixture() {
        const auto* mixture = first_block<MixtureConfig>(config_);
        size("expert_count", mixture->experts);
        size("expert_used_count", mixture->experts_per_token);
        size("expert_feed_forward_length", mixture->intermediate);
        size("expert_shared_feed_forward_length", mixture->shared_intermediate);
        if (name_ != "deepseek2") return;
        size("expert_shared_count", mixture->shared_intermediate / mixture->intermediate);
        size("expert_gating_func", 2);
        size("expert_group_count", mixture->routing.groups);
        size("expert_group_used_count", mixture->routing.groups_kept);
        key("expert_weights_norm", mixture->routing.normalize);
        key("expert_weights_scale", static_cast<float>(mixture->routing.scale));
        int64_t dense = 0;
        while (config_.mixture_of(dense) == nullptr) ++dense;
        size("leading_dense_block_count", dense);
        if (const auto* mlp = first_block<DenseMlpConfig>(config_)) size("feed_forward_length", mlp->intermediate);
    }

    // ---- tensors

    static Rows rows_of(const WeightView& view) {
        Rows rows(static_cast<size_t>(view.rows), std::vector<float>(static_cast<size_t>(view.columns)));
        for (size_t r = 0; r < rows.size(); ++r) decode_row(view, static_cast<int64_t>(r), rows[r].data());
        return rows;
    }

    // Rows [first, first + count).
    static Rows part(const Rows& rows, int64_t first, int64_t count) {
        return {rows.begin() + first, rows.begin() + first + count};
    }

    void add(const std::string& name, const Rows& rows, std::vector<uint64_t> leading = {}, bool matrix = true) {
        const auto columns = static_cast<int64_t>(rows.front().size());
        std::vector<float> values;
        for (const auto& row : rows) values.insert(values.end(), row.begin(), row.end());
        GgufWriter::Tensor tensor{.name = name, .sizes = {static_cast<uint64_t>(columns)}, .data = {}};
        if (leading.empty() && rows.size() > 1) leading = {rows.size()};
        tensor.sizes.insert(tensor.sizes.end(), leading.begin(), leading.end());
        const WeightFormat& blocks = kQ8_0Codec.standard;
        // Routers stay as they are in published files, whatever their type is called.
        const bool router = name.find("ffn_gate_inp") != std::string::npos;
        if (type_ == TwinType::kQ8_0 && matrix && !router && columns % blocks.run_columns() == 0) {
            const auto count = static_cast<int64_t>(rows.size());
            tensor.type = 8;
            tensor.data.resize(blocks.data_bytes(count, columns));
            encode(blocks, values.data(), count, columns, {.data = reinterpret_cast<std::byte*>(tensor.data.data())});
        } else {
            tensor.data.assign(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
        }
        writer_.tensors.push_back(std::move(tensor));
    }

    void add_trunk(const TrunkWeight& weight) {
        const std::string path = weight.layer == kNoLayer ? "" : fmt::format("blk.{}.", weight.layer);
        const LayerConfig* layer =
            weight.layer == kNoLayer ? nullptr : &config_.layers[static_cast<size_t>(weight.layer)];
        const Role role = weight.spec.role;
        Rows rows;
        if (weight.spec.is_matrix()) {
            rows = rows_of(checkpoint_->view(weight.source));
        } else {
            rows = {checkpoint_->vector(weight.layer, role)};
        }
        if (role == Role::kKeyValueFromLatent) return add_latent(path, *block_of<LatentAttentionConfig>(*layer), rows);
        if (role == Role::kLinearQkvz) return add_projections(path, *block_of<GatedDeltaNetConfig>(*layer), rows);
        if (role == Role::kLinearALog) {
            for (float& value : rows[0]) value = -std::exp(value);
        }
        if (layer != nullptr) {
            if (const auto* net = block_of<GatedDeltaNetConfig>(*layer)) rows = converted(*net, role, std::move(rows));
        }
        if (name_ == "llama" && (role == Role::kQuery || role == Role::kKey)) {
            rows = turned(rows, block_of<GroupedAttentionConfig>(*layer)->head_dim);
        }
        std::string name = kNames.at(role);
        const bool hybrid = name_ == "qwen3next" || name_ == "qwen35moe";
        if (hybrid && role == Role::kFeedForwardNorm) name = "post_attention_norm.weight";
        add(path + name, rows, {}, weight.spec.is_matrix() && role != Role::kRouter);
    }

    // Half-split rotary rows become neighbours.
    static Rows turned(const Rows& rows, int64_t head_dim) {
        Rows out = rows;
        for (size_t r = 0; r < rows.size(); ++r) {
            const int64_t in_head = static_cast<int64_t>(r) % head_dim, half = head_dim / 2;
            const int64_t to = in_head < half ? 2 * in_head : 2 * (in_head - half) + 1;
            out[r - static_cast<size_t>(in_head) + static_cast<size_t>(to)] = rows[r];
        }
        return out;
    }

    // k_b: per head the transposed half of the keys; v_b: that of the values.
    void add_latent(const std::string& path, const LatentAttentionConfig& attention, const Rows& rows) {
        Rows keys, values;
        const int64_t per_head = attention.nope_dim + attention.value_dim;
        for (int64_t head = 0; head < attention.heads; ++head) {
            for (int64_t c = 0; c < attention.key_value_rank; ++c) {
                auto& row = keys.emplace_back();
                for (int64_t d = 0; d < attention.nope_dim; ++d) {
                    row.push_back(rows[static_cast<size_t>(head * per_head + d)][static_cast<size_t>(c)]);
                }
            }
            const Rows of_head = part(rows, head * per_head + attention.nope_dim, attention.value_dim);
            values.insert(values.end(), of_head.begin(), of_head.end());
        }
        const auto heads = static_cast<uint64_t>(attention.heads);
        add(path + "attn_k_b.weight", keys, {static_cast<uint64_t>(attention.key_value_rank), heads});
        add(path + "attn_v_b.weight", values, {static_cast<uint64_t>(attention.value_dim), heads});
    }

    // Per key head [q | k | v | z] to [all q | all k | all v] and z.
    void add_projections(const std::string& path, const GatedDeltaNetConfig& net, const Rows& rows) {
        const int64_t values = net.value_width() / net.key_heads, per_head = 2 * net.key_dim + 2 * values;
        Rows all, gates;
        const std::pair<int64_t, int64_t> parts[] = {
            {0, net.key_dim}, {net.key_dim, net.key_dim}, {2 * net.key_dim, values}};
        const auto gather = [&](int64_t first, int64_t count, Rows& out) {
            for (int64_t head = 0; head < net.key_heads; ++head) {
                const Rows some = part(rows, head * per_head + first, count);
                out.insert(out.end(), some.begin(), some.end());
            }
        };
        for (const auto& [first, count] : parts) gather(first, count, all);
        gather(2 * net.key_dim + values, values, gates);
        add(path + "attn_qkv.weight", all);
        add(path + "attn_gate.weight", gates);
    }

    // Value heads from neighbours that share a key head to every key head in turn, as Qwen3.5 has them in GGUF.
    Rows converted(const GatedDeltaNetConfig& net, Role role, Rows rows) const {
        if (role == Role::kLinearConv) {
            Rows channels;
            for (int64_t c = 0; c < net.channels(); ++c) {
                const auto first = rows[0].begin() + c * net.kernel;
                channels.emplace_back(first, first + net.kernel);
            }
            rows = std::move(channels);
        }
        if (name_ != "qwen35moe") return rows;
        const int64_t skipped = 2 * net.key_width();
        switch (role) {
            case Role::kLinearQkv:
            case Role::kLinearConv:
                return tiled(net, rows, skipped, net.value_dim);
            case Role::kLinearZ:
                return tiled(net, rows, 0, net.value_dim);
            case Role::kLinearA:
            case Role::kLinearB:
                return tiled(net, rows, 0, 1);
            case Role::kLinearALog:
            case Role::kLinearDtBias:
                return {tiled(net, rows[0], 0, 1)};
            case Role::kLinearOutput:
                for (auto& row : rows) row = tiled(net, row, 0, net.value_dim);
                return rows;
            default:
                return rows;
        }
    }

    template <typename Items>
    static Items tiled(const GatedDeltaNetConfig& net, const Items& items, int64_t first, int64_t width) {
        Items out = items;
        const int64_t share = net.value_heads / net.key_heads;
        for (int64_t head = 0; head < net.value_heads; ++head) {
            const int64_t to = head % share * net.key_heads + head / share;
            for (int64_t i = 0; i < width; ++i) {
                out[static_cast<size_t>(first + to * width + i)] = items[static_cast<size_t>(first + head * width + i)];
            }
        }
        return out;
    }

    void add_experts(int layer) {
        const MixtureConfig* mixture = config_.mixture_of(layer);
        if (mixture == nullptr) return;
        const ExpertLayout& layout = checkpoint_->expert_layout(layer);
        for (const Projection projection : kProjections) {
            Rows stack;
            for (int expert = 0; expert < mixture->experts; ++expert) {
                std::vector<std::byte> slot(layout.record_bytes);
                for (const ExpertRead& read : checkpoint_->expert_reads(layer, expert)) {
                    const auto bytes = checkpoint_->mapped(read.source);
                    std::memcpy(slot.data() + read.slot_offset, bytes.data(), bytes.size());
                }
                const Rows rows = rows_of(view_in_slot(projection_of(layout, projection), slot.data()));
                stack.insert(stack.end(), rows.begin(), rows.end());
            }
            constexpr const char* kStacks[] = {"ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"};
            const auto experts = static_cast<uint64_t>(mixture->experts);
            add(fmt::format("blk.{}.{}.weight", layer, kStacks[static_cast<size_t>(projection)]), stack,
                {stack.size() / experts, experts});
        }
    }

    std::shared_ptr<const Checkpoint> checkpoint_;
    const ModelConfig& config_;
    std::string name_;
    TwinType type_;
    GgufWriter writer_;
    std::set<std::string> written_;
};

}  // namespace

bool has_gguf_twin(const std::filesystem::path& model) {
    return kArchitectures.contains(read_model_config(model).architecture->name);
}

GgufWriter gguf_twin(const std::filesystem::path& model, TwinType type) {
    return Twin(model, type).make();
}

}  // namespace sluice::testing
