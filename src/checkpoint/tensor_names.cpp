#include "checkpoint/tensor_names.h"

#include <fmt/core.h>

#include <array>
#include <charconv>
#include <optional>
#include <unordered_map>

namespace sluice {

namespace {

struct RoleName {
    Role role;
    std::string_view module;
    bool bare = false;      // the tensor's name ends here, without `.weight`
    bool deepseek = false;  // the name in DeepSeek's models, where Qwen has another
};

constexpr RoleName kGlobalNames[] = {
    {Role::kEmbedding, "embed_tokens"},
    {Role::kFinalNorm, "norm"},
};

constexpr RoleName kLayerNames[] = {
    {Role::kMixerNorm, "input_layernorm"},
    {Role::kFeedForwardNorm, "post_attention_layernorm"},
    {Role::kQuery, "self_attn.q_proj"},
    {Role::kKey, "self_attn.k_proj"},
    {Role::kValue, "self_attn.v_proj"},
    {Role::kOutput, "self_attn.o_proj"},
    {Role::kQueryNorm, "self_attn.q_norm"},
    {Role::kKeyNorm, "self_attn.k_norm"},
    {Role::kLinearQkv, "linear_attn.in_proj_qkv"},
    {Role::kLinearZ, "linear_attn.in_proj_z"},
    {Role::kLinearB, "linear_attn.in_proj_b"},
    {Role::kLinearA, "linear_attn.in_proj_a"},
    {Role::kLinearQkvz, "linear_attn.in_proj_qkvz"},
    {Role::kLinearBa, "linear_attn.in_proj_ba"},
    {Role::kLinearConv, "linear_attn.conv1d"},
    {Role::kLinearALog, "linear_attn.A_log", true},
    {Role::kLinearDtBias, "linear_attn.dt_bias", true},
    {Role::kLinearNorm, "linear_attn.norm"},
    {Role::kLinearOutput, "linear_attn.out_proj"},
    {Role::kQueryLatent, "self_attn.q_a_proj"},
    {Role::kQueryLatentNorm, "self_attn.q_a_layernorm"},
    {Role::kQueryFromLatent, "self_attn.q_b_proj"},
    {Role::kKeyValueLatent, "self_attn.kv_a_proj_with_mqa"},
    {Role::kKeyValueLatentNorm, "self_attn.kv_a_layernorm"},
    {Role::kKeyValueFromLatent, "self_attn.kv_b_proj"},
    {Role::kKeyFold, "self_attn.embed_q"},
    {Role::kValueUnfold, "self_attn.unembed_out"},
    {Role::kRouter, "mlp.gate"},
    {Role::kRouterBias, "mlp.gate.e_score_correction_bias", true},
    {Role::kDenseGate, "mlp.gate_proj"},
    {Role::kDenseUp, "mlp.up_proj"},
    {Role::kDenseDown, "mlp.down_proj"},
    {Role::kSharedGate, "mlp.shared_expert.gate_proj"},
    {Role::kSharedUp, "mlp.shared_expert.up_proj"},
    {Role::kSharedDown, "mlp.shared_expert.down_proj"},
    {Role::kSharedGate, "mlp.shared_experts.gate_proj", false, true},
    {Role::kSharedUp, "mlp.shared_experts.up_proj", false, true},
    {Role::kSharedDown, "mlp.shared_experts.down_proj", false, true},
    {Role::kSharedExpertGate, "mlp.shared_expert_gate"},
};

constexpr std::string_view kHeadModule = "lm_head";
constexpr std::array<std::string_view, 3> kModelPrefixes = {"model.language_model.", "language_model.model.", "model."};
constexpr std::array<std::string_view, 3> kOuterPrefixes = {"model.", "language_model.", ""};
constexpr std::array<std::string_view, 5> kVisionModules = {"visual.", "vision_tower.", "vision_model.",
                                                            "mm_projector.", "multi_modal_projector."};

struct PartSuffix {
    std::string_view suffix;
    TensorPart part;
};
constexpr PartSuffix kPartSuffixes[] = {
    {".weight", TensorPart::kWeight},
    {".scales", TensorPart::kScales},
    {".biases", TensorPart::kBiases},
    {".weight_scale_inv", TensorPart::kScaleInverse},
};
// Of tensors that carry no `.weight`.
constexpr PartSuffix kBareSuffixes[] = {
    {"", TensorPart::kWeight},
    {"_scale_inv", TensorPart::kScaleInverse},
};

bool consume(std::string_view& text, std::string_view prefix) {
    if (!text.starts_with(prefix)) return false;
    text.remove_prefix(prefix.size());
    return true;
}

// "12." at the start of the text.
std::optional<int> consume_number(std::string_view& text) {
    int number = 0;
    const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    const auto digits = static_cast<size_t>(stop - text.data());
    if (error != std::errc() || number < 0 || digits == text.size() || text[digits] != '.') return std::nullopt;
    text.remove_prefix(digits + 1);
    return number;
}

struct Known {
    Role role;
    TensorPart part;
};
using KnownNames = std::unordered_map<std::string, Known>;

template <size_t N>
KnownNames known_names(const RoleName (&names)[N]) {
    KnownNames known;
    for (const RoleName& name : names) {
        if (name.bare) {
            known.emplace(name.module, Known{name.role, TensorPart::kWeight});
            continue;
        }
        for (const PartSuffix& part : kPartSuffixes) {
            known.emplace(fmt::format("{}{}", name.module, part.suffix), Known{name.role, part.part});
        }
    }
    return known;
}

bool find_known(const KnownNames& names, std::string_view rest, TensorName& parsed) {
    const auto found = names.find(std::string(rest));
    if (found == names.end()) return false;
    parsed.kind = NameKind::kTrunk;
    parsed.role = found->second.role;
    parsed.part = found->second.part;
    return true;
}

template <size_t N>
bool find_part(const PartSuffix (&suffixes)[N], std::string_view rest, TensorPart& part) {
    for (const PartSuffix& candidate : suffixes) {
        if (rest != candidate.suffix) continue;
        part = candidate.part;
        return true;
    }
    return false;
}

bool consume_projection(std::string_view& rest, Projection& projection) {
    for (const Projection candidate : kProjections) {
        if (!consume(rest, projection_name(candidate))) continue;
        projection = candidate;
        return true;
    }
    return false;
}

// Below "mlp.experts." or "mlp.switch_mlp.".
bool parse_expert(std::string_view rest, bool switch_mlp, TensorName& parsed) {
    parsed.kind = NameKind::kExpertStack;
    if (switch_mlp) return consume_projection(rest, parsed.projection) && find_part(kPartSuffixes, rest, parsed.part);
    if (const std::optional<int> expert = consume_number(rest)) {
        parsed.kind = NameKind::kExpert;
        parsed.expert = *expert;
        return consume_projection(rest, parsed.projection) && find_part(kPartSuffixes, rest, parsed.part);
    }
    if (consume(rest, "gate_up_proj")) {
        parsed.kind = NameKind::kGateUpStack;
        return find_part(kBareSuffixes, rest, parsed.part);
    }
    return consume_projection(rest, parsed.projection) && find_part(kBareSuffixes, rest, parsed.part);
}

TensorName parse_in_layer(std::string_view rest, TensorName parsed) {
    static const KnownNames kKnown = known_names(kLayerNames);
    if (find_known(kKnown, rest, parsed)) return parsed;
    parsed.multi_token_marker = rest.starts_with("eh_proj.");
    parsed.plain_bias = rest.ends_with(".bias");
    TensorName expert = parsed;
    std::string_view below = rest;
    const bool switch_mlp = consume(below, "mlp.switch_mlp.");
    if ((switch_mlp || consume(below, "mlp.experts.")) && parse_expert(below, switch_mlp, expert)) return expert;
    return parsed;
}

std::optional<TensorName> parse_model_name(std::string_view name) {
    static const KnownNames kKnown = known_names(kGlobalNames);
    for (const std::string_view prefix : kModelPrefixes) {
        std::string_view rest = name;
        if (!consume(rest, prefix)) continue;
        TensorName parsed;
        parsed.prefix = prefix.size();
        if (find_known(kKnown, rest, parsed)) return parsed;
        if (!consume(rest, "layers.")) continue;
        const std::optional<int> layer = consume_number(rest);
        if (!layer) return std::nullopt;
        parsed.layer = *layer;
        return parse_in_layer(rest, parsed);
    }
    return std::nullopt;
}

bool parse_head(std::string_view name, TensorName& parsed) {
    consume(name, "language_model.");
    if (!consume(name, kHeadModule) || !find_part(kPartSuffixes, name, parsed.part)) return false;
    parsed.kind = NameKind::kTrunk;
    parsed.role = Role::kHead;
    return true;
}

bool parse_packed(std::string_view name, TensorName& parsed) {
    if (!consume(name, "sluice.layers.")) return false;
    const std::optional<int> layer = consume_number(name);
    if (!layer || name != "experts") return false;
    parsed.kind = NameKind::kPackedExperts;
    parsed.layer = *layer;
    return true;
}

NameKind kind_of_other(std::string_view name) {
    for (const std::string_view prefix : kOuterPrefixes) consume(name, prefix);
    for (const std::string_view module : kVisionModules) {
        if (name.starts_with(module)) return NameKind::kVision;
    }
    return name.starts_with("mtp.") ? NameKind::kMultiToken : NameKind::kOther;
}

}  // namespace

TensorName parse_tensor_name(std::string_view name) {
    if (const std::optional<TensorName> parsed = parse_model_name(name)) return *parsed;
    TensorName parsed;
    if (parse_head(name, parsed) || parse_packed(name, parsed)) return parsed;
    parsed = {};
    parsed.kind = kind_of_other(name);
    return parsed;
}

std::string layer_path(std::string_view prefix, int layer) {
    return layer == kNoLayer ? std::string(prefix) : fmt::format("{}layers.{}.", prefix, layer);
}

ModuleName module_name(Role role, Architecture architecture) {
    if (role == Role::kHead) return {kHeadModule};
    for (const RoleName& name : kGlobalNames) {
        if (name.role == role) return {name.module, name.bare};
    }
    ModuleName chosen;
    for (const RoleName& name : kLayerNames) {
        const bool suits = chosen.module.empty() || (architecture == Architecture::kDeepseekV3 && name.deepseek);
        if (name.role == role && suits) chosen = {name.module, name.bare};
    }
    return chosen;
}

}  // namespace sluice
