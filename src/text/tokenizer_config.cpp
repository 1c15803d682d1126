#include "text/tokenizer_config.h"

#include <nlohmann/json.hpp>
#include <set>
#include <string>

#include "base/json.h"
#include "text/tokenizer_field.h"
#include "text/tokenizer_vocabulary.h"

namespace sluice {

namespace {

using Json = nlohmann::json;
namespace fs = std::filesystem;

Json read_object(const fs::path& path) {
    if (!fs::exists(path)) return Json::object();
    Json document = read_json_file(path);
    return document.is_object() ? document : Json::object();
}

void append_tokens(const TokenizerField& field, std::vector<TokenizerField>& found) {
    if (field.is_text() || field.has("content")) {
        found.push_back(field);
    } else if (field.is_array()) {
        for (const TokenizerField& item : field.items()) append_tokens(item, found);
    } else if (field.is_object()) {
        for (const auto& [name, member] : field.members()) append_tokens(member, found);
    }
}

// {"<|im_end|>": 151645, ...} as the `added_tokens_decoder` that later checkpoints have.
Json as_decoder(const TokenizerField& added_tokens, const TokenizerField& config) {
    std::set<std::string> special;
    for (const TokenizerField& token : special_token_fields(config)) special.insert(token.token_content());
    Json decoder = Json::object();
    for (const auto& [content, id] : added_tokens.members()) {
        Json token = {{"content", content}};
        token["special"] = special.contains(content);
        decoder[std::to_string(id.integer())] = std::move(token);
    }
    return decoder;
}

}  // namespace

Json read_tokenizer_config(const fs::path& folder) {
    Json config = read_object(folder / "tokenizer_config.json");
    if (config.contains("added_tokens_decoder")) return config;
    const Json special = read_object(folder / "special_tokens_map.json");
    for (const auto& [name, value] : special.items()) config[name] = value;
    const fs::path added_path = folder / "added_tokens.json";
    const Json added = read_object(added_path);
    if (!added.empty()) {
        config["added_tokens_decoder"] = as_decoder({added, added_path.string() + ": "},
                                                    {config, (folder / "tokenizer_config.json").string() + ": "});
    }
    return config;
}

std::vector<TokenizerField> special_token_fields(const TokenizerField& config) {
    std::vector<TokenizerField> found;
    for (const auto& [name, value] : config.members()) {
        const bool one = name.ends_with("_token") && (value.is_text() || value.has("content"));
        if (one || name == "additional_special_tokens" || name == "extra_special_tokens") append_tokens(value, found);
    }
    return found;
}

}  // namespace sluice
