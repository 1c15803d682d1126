#include "checkpoint/tensor_names.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

#include "checkpoint/name_parts.h"

namespace sluice {

namespace {

// What most architectures call alike.
constexpr NameRule kCommonNames[] = {
    {Role::kEmbedding, "embed_tokens"},
    {Role::kFinalNorm, "norm"},
    {Role::kHead, "lm_head"},
    {Role::kMixerNorm, "input_layernorm"},
    {Role::kFeedForwardNorm, "post_attention_layernorm"},
    {Role::kQuery, "self_attn.q_proj"},
    {Role::kKey, "self_attn.k_proj"},
    {Role::kValue, "self_attn.v_proj"},
    {Role::kOutput, "self_attn.o_proj"},
    {Role::kQueryBias, "self_attn.q_proj.bias", true},
    {Role::kKeyBias, "self_attn.k_proj.bias", true},
    {Role::kValueBias, "self_attn.v_proj.bias", true},
    {Role::kOutputBias, "self_attn.o_proj.bias", true},
    {Role::kQueryNorm, "self_attn.q_norm"},
    {Role::kKeyNorm, "self_attn.k_norm"},
    // Kimi Delta Attention.
    {Role::kQueryConv, "self_attn.q_conv1d"},
    {Role::kKeyConv, "self_attn.k_conv1d"},
    {Role::kValueConv, "self_attn.v_conv1d"},
    {Role::kLinearALog, "self_attn.A_log", true},
    {Role::kLinearDtBias, "self_attn.dt_bias", true},
    {Role::kLinearB, "self_attn.b_proj"},
    {Role::kLinearDecayDown, "self_attn.f_a_proj"},
    {Role::kLinearDecayUp, "self_attn.f_b_proj"},
    {Role::kLinearGateDown, "self_attn.g_a_proj"},
    {Role::kLinearGateUp, "self_attn.g_b_proj"},
    {Role::kLinearNorm, "self_attn.o_norm"},
    {Role::kDenseGate, "mlp.gate_proj"},
    {Role::kDenseUp, "mlp.up_proj"},
    {Role::kDenseDown, "mlp.down_proj"},
    {Role::kDenseGateBias, "mlp.gate_proj.bias", true},
    {Role::kDenseUpBias, "mlp.up_proj.bias", true},
    {Role::kDenseDownBias, "mlp.down_proj.bias", true},
    {Role::kRouter, "mlp.gate"},
    {Role::kRouterBias, "mlp.gate.bias", true},
    {Role::kExpertsInput, "mlp.fc1_latent_proj"},
    {Role::kExpertsOutput, "mlp.fc2_latent_proj"},
    {Role::kExpertGateUpBias, "mlp.experts.gate_up_proj_bias", true},
    {Role::kExpertDownBias, "mlp.experts.down_proj_bias", true},
    {Role::kExpertGateBias, "mlp.switch_mlp.gate_proj.bias", true},
    {Role::kExpertUpBias, "mlp.switch_mlp.up_proj.bias", true},
    {Role::kExpertDownBias, "mlp.switch_mlp.down_proj.bias", true},
    {Role::kMixerConnection, "hc_attn_fn", true},
    {Role::kMixerConnectionBase, "hc_attn_base", true},
    {Role::kMixerConnectionScale, "hc_attn_scale", true},
    {Role::kFeedForwardConnection, "hc_ffn_fn", true},
    {Role::kFeedForwardConnectionBase, "hc_ffn_base", true},
    {Role::kFeedForwardConnectionScale, "hc_ffn_scale", true},
    {Role::kEndConnection, "hc_head_fn", true},
    {Role::kEndConnectionBase, "hc_head_base", true},
    {Role::kEndConnectionScale, "hc_head_scale", true},
};

bool is_of_model(Role role) {
    constexpr Role kOfModel[] = {Role::kEmbedding,      Role::kFinalNorm,         Role::kHead,
                                 Role::kEndConnection,  Role::kEndConnectionBase, Role::kEndConnectionScale,
                                 Role::kEndStreamsNorm, Role::kEndStreamsDown,    Role::kEndStreamsUp};
    return std::ranges::find(kOfModel, role) != std::end(kOfModel);
}

constexpr std::array<std::string_view, 5> kModelPrefixes = {"model.language_model.", "language_model.model.", "model.",
                                                            "backbone.", ""};
constexpr std::array<std::string_view, 3> kOuterPrefixes = {"model.", "language_model.", ""};
constexpr std::string_view kVisionModules[] = {"visual.",       "vision_tower.",          "vision_model.",
                                               "mm_projector.", "multi_modal_projector.", "embed_vision."};

struct PartSuffix {
    std::string_view suffix;
    TensorPart part;
};
constexpr PartSuffix kPartSuffixes[] = {
    {".weight", TensorPart::kWeight},
    {".scales", TensorPart::kScales},
    {".biases", TensorPart::kZeroPoints},
    {".weight_scale_inv", TensorPart::kScaleInverse},
    {".scale", TensorPart::kScaleInverse},
    // Of compressed-tensors and ModelOpt,
    {".weight_packed", TensorPart::kWeight},
    {".weight_scale", TensorPart::kScales},
    {".weight_zero_point", TensorPart::kZeroPoints},
    {".weight_global_scale", TensorPart::kDivisor},
    {".weight_scale_2", TensorPart::kFactor},
    {".weight_shape", TensorPart::kShape},
    {".weight_g_idx", TensorPart::kOrder},
    // of AWQ and GPTQ.
    {".qweight", TensorPart::kWeight},
    {".qzeros", TensorPart::kZeroPoints},
    {".g_idx", TensorPart::kOrder},
};
// Of tensors that carry no `.weight`.
constexpr PartSuffix kBareSuffixes[] = {
    {"", TensorPart::kWeight},
    {"_scale_inv", TensorPart::kScaleInverse},
    {"_blocks", TensorPart::kWeight},
    {"_scales", TensorPart::kScales},
};

template <size_t N>
bool find_part(const PartSuffix (&suffixes)[N], std::string_view rest, TensorPart& part) {
    for (const PartSuffix& candidate : suffixes) {
        if (rest != candidate.suffix) continue;
        part = candidate.part;
        return true;
    }
    return false;
}

bool consume_projection(std::string_view& rest, const std::array<std::string_view, 3>& names, Projection& projection) {
    for (const Projection candidate : kProjections) {
        const std::string_view name = names[static_cast<size_t>(candidate)];
        if (name.empty() || !consume(rest, name)) continue;
        projection = candidate;
        return true;
    }
    return false;
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

TensorNames::TensorNames(const Architecture& architecture) : architecture_(architecture) {
    for (const std::span<const NameRule> rules : {architecture.names, std::span<const NameRule>(kCommonNames)}) {
        for (const NameRule& rule : rules) {
            auto& known = is_of_model(rule.role) ? of_model_ : of_layer_;
            if (rule.bare) {
                known.emplace(rule.module, Known{rule.role, TensorPart::kWeight});
                continue;
            }
            for (const PartSuffix& part : kPartSuffixes) {
                known.emplace(fmt::format("{}{}", rule.module, part.suffix), Known{rule.role, part.part});
            }
        }
    }
}

bool TensorNames::find_known(std::string_view rest, bool in_layer, TensorName& parsed) const {
    const auto& names = in_layer ? of_layer_ : of_model_;
    const auto found = names.find(std::string(rest));
    if (found == names.end()) return false;
    parsed.kind = NameKind::kTrunk;
    parsed.role = found->second.role;
    parsed.part = found->second.part;
    return true;
}

// Below the folder of experts.
bool TensorNames::parse_expert(std::string_view rest, bool stacked, TensorName& parsed) const {
    parsed.kind = NameKind::kExpertStack;
    if (stacked) {
        return consume_projection(rest, architecture_.experts.stacked_projections, parsed.projection) &&
               find_part(kPartSuffixes, rest, parsed.part);
    }
    if (const std::optional<int> expert = consume_number(rest)) {
        parsed.kind = NameKind::kExpert;
        parsed.expert = *expert;
        return consume_projection(rest, architecture_.experts.projections, parsed.projection) &&
               find_part(kPartSuffixes, rest, parsed.part);
    }
    if (consume(rest, "gate_up_proj")) {
        parsed.kind = NameKind::kGateUpStack;
        return find_part(kBareSuffixes, rest, parsed.part);
    }
    return consume_projection(rest, kStackedProjections, parsed.projection) &&
           find_part(kBareSuffixes, rest, parsed.part);
}

// Of a table that is read row by row, below its module: "shard_7.weight", "shards.7.weight", or, of the whole,
// "weight_scale".
bool TensorNames::parse_row_table(std::string_view rest, TensorName& parsed) const {
    if (architecture_.row_table.empty() || !consume(rest, architecture_.row_table)) return false;
    parsed.kind = NameKind::kRowTable;
    if (find_part(kPartSuffixes, rest, parsed.part)) return true;
    if (!consume(rest, ".shard_") && !consume(rest, ".shards.")) return false;
    // The dot behind the number begins the part's name.
    const std::string_view dotted = rest;
    const std::optional<int> number = consume_number(rest);
    if (!number) return false;
    parsed.table_part = *number;
    return find_part(kPartSuffixes, dotted.substr(dotted.size() - rest.size() - 1), parsed.part);
}

TensorName TensorNames::parse_in_layer(std::string_view rest, TensorName parsed) const {
    parsed.plain_bias = rest.ends_with(".bias") || rest.ends_with("_proj_bias");
    if (find_known(rest, true, parsed)) return parsed;
    if (TensorName table = parsed; parse_row_table(rest, table)) return table;
    parsed.multi_token_marker = rest.starts_with("eh_proj.");
    const ExpertNames& names = architecture_.experts;
    const std::pair<std::string_view, bool> folders[] = {
        {names.stacked, true}, {names.also_stacked, true}, {names.each, false}};
    for (const auto& [folder, stacked] : folders) {
        TensorName expert = parsed;
        std::string_view below = rest;
        if (!folder.empty() && consume(below, folder) && parse_expert(below, stacked, expert)) return expert;
    }
    return parsed;
}

std::optional<TensorName> TensorNames::parse_below_prefix(std::string_view name) const {
    for (const std::string_view prefix : kModelPrefixes) {
        std::string_view rest = name;
        if ((prefix.empty() && !architecture_.unprefixed) || !consume(rest, prefix)) continue;
        TensorName parsed;
        parsed.prefix = prefix.size();
        if (find_known(rest, false, parsed) && parsed.role != Role::kHead) return parsed;
        if (!consume(rest, "layers.")) continue;
        const std::optional<int> layer = consume_number(rest);
        if (!layer) return std::nullopt;
        parsed.layer = *layer;
        return parse_in_layer(rest, parsed);
    }
    return std::nullopt;
}

// The head stands beside the model, not below its prefix.
bool TensorNames::parse_head(std::string_view name, TensorName& parsed) const {
    consume(name, "language_model.");
    return find_known(name, false, parsed) && parsed.role == Role::kHead;
}

TensorName TensorNames::parse(std::string_view name) const {
    if (const std::optional<TensorName> parsed = parse_below_prefix(name)) return *parsed;
    TensorName parsed;
    if (parse_head(name, parsed)) return parsed;
    parsed = {};
    if (parse_packed(name, parsed)) return parsed;
    parsed = {};
    parsed.kind = kind_of_other(name);
    return parsed;
}

ModuleName TensorNames::module(Role role) const {
    for (const std::span<const NameRule> rules : {architecture_.names, std::span<const NameRule>(kCommonNames)}) {
        const auto rule = std::ranges::find(rules, role, &NameRule::role);
        if (rule != rules.end()) return {rule->module, rule->bare};
    }
    return {};
}

std::string layer_path(std::string_view prefix, int layer) {
    return layer == kNoLayer ? std::string(prefix) : fmt::format("{}layers.{}.", prefix, layer);
}

}  // namespace sluice
