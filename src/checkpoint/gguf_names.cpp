#include "checkpoint/gguf_names.h"

#include <fmt/core.h>

#include <array>
#include <vector>

#include "checkpoint/name_parts.h"

namespace sluice {

namespace {

constexpr std::string_view kPrefix = "model.", kWeight = ".weight", kFactor = ".scale";

// What most architectures call alike.
constexpr GgufName kCommonGgufNames[] = {
    {"token_embd", Role::kEmbedding},
    {"output_norm", Role::kFinalNorm, GgufShape::kVector},
    {"output", Role::kHead},
    {"attn_norm", Role::kMixerNorm, GgufShape::kVector},
    {"ffn_norm", Role::kFeedForwardNorm, GgufShape::kVector},
    {"attn_q", Role::kQuery},
    {"attn_k", Role::kKey},
    {"attn_v", Role::kValue},
    {"attn_output", Role::kOutput},
    {"attn_q.bias", Role::kQueryBias, GgufShape::kVector, true},
    {"attn_k.bias", Role::kKeyBias, GgufShape::kVector, true},
    {"attn_v.bias", Role::kValueBias, GgufShape::kVector, true},
    {"attn_output.bias", Role::kOutputBias, GgufShape::kVector, true},
    {"attn_q_norm", Role::kQueryNorm, GgufShape::kVector},
    {"attn_k_norm", Role::kKeyNorm, GgufShape::kVector},
    {"ffn_gate", Role::kDenseGate},
    {"ffn_up", Role::kDenseUp},
    {"ffn_down", Role::kDenseDown},
    {"ffn_gate_inp", Role::kRouter},
    {"ffn_gate_inp.bias", Role::kRouterBias, GgufShape::kVector, true},
    {"ffn_gate_exps.bias", Role::kExpertGateBias, GgufShape::kMatrix, true},
    {"ffn_up_exps.bias", Role::kExpertUpBias, GgufShape::kMatrix, true},
    {"ffn_down_exps.bias", Role::kExpertDownBias, GgufShape::kMatrix, true},
    {"exp_probs_b.bias", Role::kRouterCorrection, GgufShape::kVector, true},
    {"ffn_gate_shexp", Role::kSharedGate},
    {"ffn_up_shexp", Role::kSharedUp},
    {"ffn_down_shexp", Role::kSharedDown},
    {"ffn_gate_inp_shexp", Role::kSharedExpertGate},
};

constexpr std::array<std::string_view, 3> kProjectionNames = {"ffn_gate", "ffn_up", "ffn_down"};

}  // namespace

std::string GgufNames::of_role(int layer, Role role) const {
    const ModuleName module = names_.module(role);
    const std::string path = layer_path(role == Role::kHead ? std::string_view() : kPrefix, layer);
    return fmt::format("{}{}{}", path, module.module, module.bare ? std::string_view() : kWeight);
}

bool GgufNames::translate_role(std::string_view rest, GgufTensorName& found) const {
    const bool weight = rest.ends_with(kWeight);
    const std::string_view stem = weight ? rest.substr(0, rest.size() - kWeight.size()) : rest;
    for (const std::span<const GgufName> rules :
         {architecture_.gguf.names, std::span<const GgufName>(kCommonGgufNames)}) {
        for (const GgufName& rule : rules) {
            if (rule.name != stem || rule.bare == weight || names_.module(rule.role).module.empty()) continue;
            found.name = of_role(found.layer, rule.role);
            found.shape = rule.shape;
            return true;
        }
    }
    return false;
}

// ffn_up_exps.weight, ffn_gate_up_exps.weight; from before April 2024 also ffn_up.7.weight.
bool GgufNames::translate_expert(std::string_view rest, GgufTensorName& found) const {
    const ExpertNames& experts = architecture_.experts;
    const std::string path = layer_path(kPrefix, found.layer);
    found.shape = GgufShape::kHeads;
    if (rest == "ffn_gate_up_exps.weight") {
        found.name = fmt::format("{}{}gate_up_proj", path, experts.each);
        return true;
    }
    for (size_t i = 0; i < kProjectionNames.size(); ++i) {
        std::string_view below = rest;
        if (!consume(below, kProjectionNames[i])) continue;
        if (below == "_exps.weight") {
            found.name = fmt::format("{}{}{}{}", path, experts.stacked, kStackedProjections[i], kWeight);
            return true;
        }
        const std::optional<int> expert = consume(below, ".") ? consume_number(below) : std::nullopt;
        if (!expert || below != "weight") continue;
        found.name = fmt::format("{}{}{}.{}{}", path, experts.each, *expert, experts.projections[i], kWeight);
        found.shape = GgufShape::kMatrix;
        return true;
    }
    return false;
}

std::string GgufNames::spelled(std::string_view name) const {
    std::string_view rest = name;
    std::string path;
    if (consume(rest, kPrefix) && consume(rest, "layers.")) {
        path = fmt::format("blk.{}.", consume_number(rest).value_or(0));
    }
    std::vector<std::string> candidates;
    for (const std::span<const GgufName> rules :
         {architecture_.gguf.names, std::span<const GgufName>(kCommonGgufNames)}) {
        for (const GgufName& rule : rules) {
            candidates.push_back(fmt::format("{}{}{}", path, rule.name, rule.bare ? std::string_view() : kWeight));
        }
    }
    for (const std::string_view projection : kProjectionNames) {
        candidates.push_back(fmt::format("{}{}_exps{}", path, projection, kWeight));
    }
    for (const std::string& candidate : candidates) {
        if (translate(candidate).name == name) return candidate;
    }
    return std::string(name);
}

GgufTensorName GgufNames::translate(std::string_view name) const {
    GgufTensorName found;
    std::string_view rest = name;
    if (consume(rest, "blk.")) {
        const std::optional<int> layer = consume_number(rest);
        if (!layer) return {.name = std::string(name)};
        found.layer = *layer;
    }
    // A family may call weights of its own so.
    if (rest.ends_with(kFactor) && translate_role(rest, found)) return found;
    std::string whole(rest);
    if (rest.ends_with(kFactor)) {
        found.factor = true;
        whole.replace(rest.size() - kFactor.size(), kFactor.size(), kWeight);
    }
    const bool known = translate_role(whole, found) || (found.layer != kNoLayer && translate_expert(whole, found));
    if (known && found.factor) {
        const bool bare = !found.name.ends_with(kWeight);
        if (!bare) found.name.resize(found.name.size() - kWeight.size());
        found.name += bare ? "_scales" : ".scales";
        found.shape = GgufShape::kVector;
    }
    if (known) return found;
    if (found.layer == kNoLayer) return {.name = std::string(name)};
    found.shape.reset();
    // Multi-token prediction is known by its place behind the last layer, and by these.
    consume(rest, "nextn.");
    found.name = layer_path(kPrefix, found.layer);
    found.name += rest;
    return found;
}

}  // namespace sluice
