#include "tests/support/tiny_checkpoint.h"

#include <numeric>

#include "base/file.h"
#include "checkpoint/safetensors.h"
#include "tensor/float_types.h"
#include "tensor/weight_view.h"

namespace sluice::testing {

namespace {

int64_t product(const std::vector<int64_t>& shape) {
    return std::accumulate(shape.begin(), shape.end(), int64_t{1}, std::multiplies<>());
}

void write_file(const std::filesystem::path& path, const std::map<std::string, TinyTensor>& tensors,
                const std::map<std::string, std::string>& metadata) {
    std::vector<SafetensorsWriter::Declaration> declarations;
    for (const auto& [name, tensor] : tensors) declarations.push_back({name, tensor.dtype, tensor.shape});
    SafetensorsWriter writer(path, declarations, metadata);
    for (const auto& [name, tensor] : tensors) writer.write(name, tensor.bytes);
    writer.commit();
}

}  // namespace

void TinyCheckpoint::add(const std::string& name, std::vector<int64_t> shape, DType dtype) {
    const auto count = static_cast<size_t>(product(shape));
    TinyTensor tensor{dtype, std::move(shape), std::vector<std::byte>(count * dtype_bytes(dtype))};
    uint32_t state = 2166136261u;
    for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 16777619u;
    for (size_t i = 0; i < count; ++i) {
        state = state * 1664525u + 1013904223u;
        const float value = static_cast<float>(static_cast<int32_t>(state >> 24) - 128) / 64.0f;
        std::byte* element = tensor.bytes.data() + i * dtype_bytes(dtype);
        if (dtype == DType::kBF16) store_unaligned(element, float_to_bf16(value));
        if (dtype == DType::kF16) store_unaligned(element, float_to_f16(value));
        if (dtype == DType::kF32) store_unaligned(element, value);
    }
    tensors[name] = std::move(tensor);
}

std::vector<float> TinyCheckpoint::values(const std::string& name) const {
    const TinyTensor& tensor = tensors.at(name);
    std::vector<float> values(tensor.bytes.size() / 2);
    for (size_t i = 0; i < values.size(); ++i) {
        values[i] = bf16_to_float(load_unaligned<uint16_t>(tensor.bytes.data() + 2 * i));
    }
    return values;
}

void TinyCheckpoint::quantize(const std::string& module, const WeightFormat& format) {
    const std::vector<float> floats = values(module + ".weight");
    std::vector<int64_t> shape = tensors.at(module + ".weight").shape;
    const int64_t columns = shape.back();
    const auto rows = static_cast<int64_t>(floats.size()) / columns;
    TinyTensor weight{DType::kU32, shape, std::vector<std::byte>(format.data_bytes(rows, columns))};
    weight.shape.back() = columns * format.bits / 32;
    TinyTensor scales{format.dtype, shape, std::vector<std::byte>(format.scale_bytes(rows, columns))};
    scales.shape.back() = columns / format.group_size;
    TinyTensor zero_points = scales;
    encode(format, floats.data(), rows, columns, {weight.bytes.data(), scales.bytes.data(), zero_points.bytes.data()});
    tensors[module + ".weight"] = std::move(weight);
    tensors[module + ".scales"] = std::move(scales);
    tensors[module + ".biases"] = std::move(zero_points);
}

void TinyCheckpoint::rename_prefix(const std::string& from, const std::string& to) {
    std::map<std::string, TinyTensor> renamed;
    for (auto& [name, tensor] : tensors) {
        const bool matches = name.starts_with(from);
        renamed[matches ? to + name.substr(from.size()) : name] = std::move(tensor);
    }
    tensors = std::move(renamed);
}

void TinyCheckpoint::write(const std::filesystem::path& folder, size_t shards) const {
    std::filesystem::create_directories(folder);
    write_text_file(folder / "config.json", config.dump());
    if (shards == 1) return write_file(folder / "model.safetensors", tensors, metadata);
    std::vector<std::map<std::string, TinyTensor>> parts(shards);
    nlohmann::json weight_map;
    size_t next = 0;
    for (const auto& [name, tensor] : tensors) {
        parts[next % shards][name] = tensor;
        weight_map[name] = fmt::format("model-{:05}-of-{:05}.safetensors", next % shards + 1, shards);
        ++next;
    }
    for (size_t i = 0; i < shards; ++i) {
        write_file(folder / fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards), parts[i], metadata);
    }
    const nlohmann::json index = {{"metadata", nlohmann::json::object()}, {"weight_map", weight_map}};
    write_text_file(folder / "model.safetensors.index.json", index.dump());
}

TinyCheckpoint tiny_qwen3_moe() {
    TinyCheckpoint tiny;
    tiny.config = {{"model_type", "qwen3_moe"},
                   {"hidden_size", 64},
                   {"num_hidden_layers", 2},
                   {"vocab_size", 40},
                   {"max_position_embeddings", 128},
                   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2},
                   {"head_dim", 16},
                   {"num_experts", 4},
                   {"num_experts_per_tok", 2},
                   {"moe_intermediate_size", 32},
                   {"rope_theta", 10000.0}};
    tiny.add("model.embed_tokens.weight", {40, 64});
    tiny.add("model.norm.weight", {64});
    tiny.add("lm_head.weight", {40, 64});
    for (int layer = 0; layer < 2; ++layer) {
        const std::string path = fmt::format("model.layers.{}.", layer);
        tiny.add(path + "input_layernorm.weight", {64});
        tiny.add(path + "post_attention_layernorm.weight", {64});
        tiny.add(path + "self_attn.q_proj.weight", {64, 64});
        tiny.add(path + "self_attn.k_proj.weight", {32, 64});
        tiny.add(path + "self_attn.v_proj.weight", {32, 64});
        tiny.add(path + "self_attn.o_proj.weight", {64, 64});
        tiny.add(path + "self_attn.q_norm.weight", {16});
        tiny.add(path + "self_attn.k_norm.weight", {16});
        tiny.add(path + "mlp.gate.weight", {4, 64});
        for (int expert = 0; expert < 4; ++expert) {
            const std::string module = fmt::format("{}mlp.experts.{}.", path, expert);
            tiny.add(module + "gate_proj.weight", {32, 64});
            tiny.add(module + "up_proj.weight", {32, 64});
            tiny.add(module + "down_proj.weight", {64, 32});
        }
    }
    return tiny;
}

TinyCheckpoint tiny_qwen35_moe() {
    TinyCheckpoint tiny;
    tiny.config = {
        {"model_type", "qwen3_5_moe"},
        {"text_config",
         {{"model_type", "qwen3_5_moe_text"},
          {"hidden_size", 64},
          {"num_hidden_layers", 2},
          {"vocab_size", 40},
          {"max_position_embeddings", 128},
          {"layer_types", {"linear_attention", "full_attention"}},
          {"num_attention_heads", 4},
          {"num_key_value_heads", 2},
          {"head_dim", 16},
          {"linear_num_key_heads", 2},
          {"linear_num_value_heads", 4},
          {"linear_key_head_dim", 8},
          {"linear_value_head_dim", 16},
          {"linear_conv_kernel_dim", 4},
          {"num_experts", 4},
          {"num_experts_per_tok", 2},
          {"moe_intermediate_size", 32},
          {"shared_expert_intermediate_size", 32},
          {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", 1e7}, {"partial_rotary_factor", 0.5}}}}}};
    const std::string prefix = "model.language_model.";
    tiny.add(prefix + "embed_tokens.weight", {40, 64});
    tiny.add(prefix + "norm.weight", {64});
    tiny.add("lm_head.weight", {40, 64});
    for (int layer = 0; layer < 2; ++layer) {
        const std::string path = fmt::format("{}layers.{}.", prefix, layer);
        tiny.add(path + "input_layernorm.weight", {64});
        tiny.add(path + "post_attention_layernorm.weight", {64});
        tiny.add(path + "mlp.gate.weight", {4, 64});
        tiny.add(path + "mlp.experts.gate_up_proj", {4, 64, 64});
        tiny.add(path + "mlp.experts.down_proj", {4, 64, 32});
        tiny.add(path + "mlp.shared_expert.gate_proj.weight", {32, 64});
        tiny.add(path + "mlp.shared_expert.up_proj.weight", {32, 64});
        tiny.add(path + "mlp.shared_expert.down_proj.weight", {64, 32});
        tiny.add(path + "mlp.shared_expert_gate.weight", {1, 64});
    }
    const std::string linear = prefix + "layers.0.linear_attn.";
    tiny.add(linear + "in_proj_qkv.weight", {96, 64});
    tiny.add(linear + "in_proj_z.weight", {64, 64});
    tiny.add(linear + "in_proj_b.weight", {4, 64});
    tiny.add(linear + "in_proj_a.weight", {4, 64});
    tiny.add(linear + "conv1d.weight", {96, 1, 4});
    tiny.add(linear + "A_log", {4}, DType::kF32);
    tiny.add(linear + "dt_bias", {4});
    tiny.add(linear + "norm.weight", {16});
    tiny.add(linear + "out_proj.weight", {64, 64});
    const std::string full = prefix + "layers.1.self_attn.";
    tiny.add(full + "q_proj.weight", {128, 64});
    tiny.add(full + "k_proj.weight", {32, 64});
    tiny.add(full + "v_proj.weight", {32, 64});
    tiny.add(full + "o_proj.weight", {64, 64});
    tiny.add(full + "q_norm.weight", {16});
    tiny.add(full + "k_norm.weight", {16});
    return tiny;
}

TinyCheckpoint tiny_deepseek_v3() {
    TinyCheckpoint tiny;
    tiny.config = {{"model_type", "deepseek_v3"},
                   {"hidden_size", 64},
                   {"num_hidden_layers", 2},
                   {"vocab_size", 40},
                   {"max_position_embeddings", 640},
                   {"intermediate_size", 96},
                   {"first_k_dense_replace", 1},
                   {"num_attention_heads", 2},
                   {"num_key_value_heads", 2},
                   {"q_lora_rank", 32},
                   {"kv_lora_rank", 32},
                   {"qk_nope_head_dim", 32},
                   {"qk_rope_head_dim", 8},
                   {"v_head_dim", 16},
                   {"n_routed_experts", 8},
                   {"num_experts_per_tok", 2},
                   {"n_shared_experts", 2},
                   {"moe_intermediate_size", 32},
                   {"n_group", 4},
                   {"topk_group", 2},
                   {"routed_scaling_factor", 2.5},
                   {"rope_theta", 10000.0},
                   {"rope_scaling",
                    {{"type", "yarn"},
                     {"factor", 40.0},
                     {"original_max_position_embeddings", 16},
                     {"beta_fast", 32},
                     {"beta_slow", 1},
                     {"mscale", 0.8},
                     {"mscale_all_dim", 0.5}}}};
    tiny.add("model.embed_tokens.weight", {40, 64});
    tiny.add("model.norm.weight", {64});
    tiny.add("lm_head.weight", {40, 64});
    for (int layer = 0; layer < 2; ++layer) {
        const std::string path = fmt::format("model.layers.{}.", layer);
        tiny.add(path + "input_layernorm.weight", {64});
        tiny.add(path + "post_attention_layernorm.weight", {64});
        tiny.add(path + "self_attn.q_a_proj.weight", {32, 64});
        tiny.add(path + "self_attn.q_a_layernorm.weight", {32});
        tiny.add(path + "self_attn.q_b_proj.weight", {80, 32});
        tiny.add(path + "self_attn.kv_a_proj_with_mqa.weight", {40, 64});
        tiny.add(path + "self_attn.kv_a_layernorm.weight", {32});
        tiny.add(path + "self_attn.kv_b_proj.weight", {96, 32});
        tiny.add(path + "self_attn.o_proj.weight", {64, 32});
    }
    for (const char* projection : {"gate_proj", "up_proj", "down_proj"}) {
        const bool down = std::string_view(projection) == "down_proj";
        const auto shape = [down](int64_t inner) {
            return down ? std::vector<int64_t>{64, inner} : std::vector<int64_t>{inner, 64};
        };
        tiny.add(fmt::format("model.layers.0.mlp.{}.weight", projection), shape(96));
        tiny.add(fmt::format("model.layers.1.mlp.shared_experts.{}.weight", projection), shape(64));
        for (int expert = 0; expert < 8; ++expert) {
            tiny.add(fmt::format("model.layers.1.mlp.experts.{}.{}.weight", expert, projection), shape(32));
        }
    }
    tiny.add("model.layers.1.mlp.gate.weight", {8, 64});
    tiny.add("model.layers.1.mlp.gate.e_score_correction_bias", {8}, DType::kF32);
    return tiny;
}

void expect_error(ErrorCode code, const std::vector<std::string>& parts, const std::function<void()>& action) {
    try {
        action();
        ADD_FAILURE() << "nothing was thrown";
    } catch (const Error& error) {
        const std::string message = error.what();
        EXPECT_EQ(error.code(), code) << message;
        EXPECT_EQ(message.find('\n'), std::string::npos) << message;
        for (const std::string& part : parts) {
            EXPECT_NE(message.find(part), std::string::npos) << "\"" << part << "\" is not in: " << message;
        }
    }
}

}  // namespace sluice::testing
