#include "checkpoint/pack_config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "gguf/gguf_files.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

using Json = nlohmann::ordered_json;

constexpr std::array<std::string_view, 13> kCompanions = {"tokenizer.json",
                                                          "tokenizer_config.json",
                                                          "generation_config.json",
                                                          "chat_template.jinja",
                                                          "chat_template.json",
                                                          "added_tokens.json",
                                                          "special_tokens_map.json",
                                                          "vocab.json",
                                                          "merges.txt",
                                                          "LICENSE",
                                                          "LICENSE.txt",
                                                          "LICENSE.md",
                                                          "NOTICE"};

Json table_entry(const WeightFormat& format) {
    return {{"group_size", format.group_size}, {"bits", format.bits}};
}

Json quantization_table(const PackPlan& plan) {
    Json table = table_entry(*plan.quantized);
    table["mode"] = "affine";
    for (const auto& [module, format] : plan.overrides) {
        table[module] = format ? table_entry(*format) : Json(false);
    }
    return table;
}

bool keeps_fp8(const PackPlan& plan) {
    return std::ranges::any_of(plan.shards, [](const PackShard& shard) {
        return std::ranges::any_of(shard.trunk, [](const PackTrunk& unit) {
            return !unit.target && unit.source.format.codec == &kFp8BlockCodec;
        });
    });
}

}  // namespace

std::string packed_config_text(const std::string& source_text, const PackPlan& plan) {
    if (!plan.quantized) return source_text;
    Json json = parse_ordered_json(source_text, "config.json");
    const Json table = quantization_table(plan);
    json["quantization"] = table;
    // What is still FP8 needs its block size; otherwise the second table mirrors the first, as MLX writes it.
    if (!keeps_fp8(plan)) {
        json["quantization_config"] = table;
        if (json.contains("text_config") && json["text_config"].is_object()) {
            json["text_config"].erase("quantization_config");
        }
    }
    return json.dump(2) + "\n";
}

void copy_companion_files(const std::filesystem::path& source, const std::filesystem::path& target) {
    if (const std::optional<std::filesystem::path> gguf = find_gguf_text(source)) {
        write_text_file(target / kGgufTokenizerName, GgufFile::open(*gguf).header.metadata_alone());
        return;
    }
    for (const std::string_view name : kCompanions) {
        if (!std::filesystem::is_regular_file(source / name)) continue;
        write_text_file(target / name, read_text_file(source / name));
    }
}

std::string packed_index_text(const PackPlan& plan) {
    Json map = Json::object();
    for (const PackShard& shard : plan.shards) {
        for (const auto& declaration : shard.declarations()) map[declaration.name] = shard.file;
    }
    return Json{{"metadata", {{"total_size", plan.bytes}}}, {"weight_map", map}}.dump(1) + "\n";
}

}  // namespace sluice
