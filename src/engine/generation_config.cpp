#include "engine/generation_config.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "engine/sampling_ranges.h"
#include "gguf/gguf_files.h"
#include "text/gguf_tokenizer.h"

namespace sluice {

namespace {

using Json = nlohmann::json;

Json read_object(const std::filesystem::path& path) {
    if (!std::filesystem::exists(path)) return Json::object();
    Json json = read_json_file(path);
    if (!json.is_object()) fail(ErrorCode::kInvalidFile, "{}: not a JSON object", path.string());
    return json;
}

template <typename T>
void read_field(const Json& json, const char* field, const std::filesystem::path& path, T& value) {
    const auto at = json.find(field);
    if (at == json.end() || at->is_null()) return;
    if (!at->is_number() && !at->is_boolean()) {
        fail(ErrorCode::kInvalidFile, "{}: {} is not a number", path.string(), field);
    }
    const double number = at->is_boolean() ? at->get<bool>() : at->get<double>();
    if (std::is_integral_v<T> && !(std::abs(number) <= 0x1p53)) {
        fail(ErrorCode::kInvalidFile, "{}: {} of {} is out of range", path.string(), field, number);
    }
    value = static_cast<T>(number);
}

// eos_token_id: one id, a list of ids, or null.
void append_eos(const Json& json, const std::filesystem::path& path, std::vector<TokenId>& ids) {
    const auto at = json.find("eos_token_id");
    if (at == json.end() || at->is_null()) return;
    const auto append = [&](const Json& id) {
        const bool is_id = id.is_number_integer() && id.get<int64_t>() == id.get<TokenId>();
        if (!is_id) fail(ErrorCode::kInvalidFile, "{}: eos_token_id is neither an id nor a list of ids", path.string());
        if (std::find(ids.begin(), ids.end(), id.get<TokenId>()) == ids.end()) ids.push_back(id.get<TokenId>());
    };
    if (!at->is_array()) return append(*at);
    for (const Json& id : *at) append(id);
}

// The tokenizer's end token: chat models end a turn with it even where config.json names another.
void append_tokenizer_eos(const std::filesystem::path& folder, const Tokenizer* tokenizer, std::vector<TokenId>& ids) {
    if (tokenizer == nullptr) return;
    const Json json = read_object(folder / "tokenizer_config.json");
    const auto at = json.find("eos_token");
    if (at == json.end()) return;
    const std::string content = at->is_string()   ? at->get<std::string>()
                                : at->is_object() ? at->value("content", std::string())
                                                  : std::string();
    const auto id = content.empty() ? std::nullopt : tokenizer->find(content);
    if (id && std::find(ids.begin(), ids.end(), *id) == ids.end()) ids.push_back(*id);
}

}  // namespace

GenerationDefaults read_generation_defaults(const std::filesystem::path& folder, const Tokenizer* tokenizer) {
    GenerationDefaults defaults;
    const std::optional<std::filesystem::path> gguf = find_gguf_text(folder);
    const std::filesystem::path path = gguf ? *gguf : folder / "generation_config.json";
    const Json generation = gguf ? gguf_generation_config(GgufFile::open(*gguf).header) : read_object(path);
    append_eos(generation, path, defaults.eos_ids);
    if (defaults.eos_ids.empty() && !gguf) {
        const std::filesystem::path config_path = folder / "config.json";
        const Json config = read_object(config_path);
        append_eos(config, config_path, defaults.eos_ids);
        if (config.contains("text_config")) append_eos(config["text_config"], config_path, defaults.eos_ids);
    }
    if (!gguf) append_tokenizer_eos(folder, tokenizer, defaults.eos_ids);

    // A file that gives a temperature without do_sample means to sample.
    bool do_sample = generation.contains("temperature");
    read_field(generation, "do_sample", path, do_sample);
    SamplingOptions& sampling = defaults.sampling;
    read_field(generation, "repetition_penalty", path, sampling.repetition_penalty);
    if (do_sample) {
        read_field(generation, "temperature", path, sampling.temperature);
        read_field(generation, "top_k", path, sampling.top_k);
        read_field(generation, "top_p", path, sampling.top_p);
        read_field(generation, "min_p", path, sampling.min_p);
    } else {
        sampling.temperature = 0;
    }
    if (const std::optional<RangeFault> fault = find_range_fault(sampling)) {
        fail(ErrorCode::kInvalidFile, "{}: {} {}", path.string(), fault->field, fault->problem);
    }
    return defaults;
}

}  // namespace sluice
