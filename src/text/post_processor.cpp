#include "text/post_processor.h"

#include <algorithm>
#include <array>

#include "text/tokenizer_field.h"

namespace sluice {

namespace {

// Classes of transformers that know nothing of the template of tokenizer.json.
constexpr std::array<std::string_view, 8> kOwnTemplate = {
    "LlamaTokenizer", "LlamaTokenizerFast", "CodeLlamaTokenizer", "CodeLlamaTokenizerFast",
    "GemmaTokenizer", "GemmaTokenizerFast", "CohereTokenizer",    "CohereTokenizerFast",
};

TokenId token_id(const TokenizerField& field, TokenId id_limit) {
    const int64_t id = field.integer();
    if (id < 0 || id >= id_limit) field.invalid(fmt::format("is {}, but the vocabulary has {} ids", id, id_limit));
    return static_cast<TokenId>(id);
}

}  // namespace

PostProcessor PostProcessor::parse(const TokenizerField& field, TokenId id_limit) {
    PostProcessor processor;
    if (!field.is_null()) processor.add(field, id_limit);
    return processor;
}

void PostProcessor::add(const TokenizerField& field, TokenId id_limit) {
    const std::string type = field.at("type").text();
    if (type == "ByteLevel") return;  // trims the offsets of tokens, which nobody asks for here
    if (type == "Sequence") {
        for (const TokenizerField& item : field.at("processors").items()) add(item, id_limit);
        return;
    }
    if (has_template_) field.unsupported("is a second source of special tokens, which is not supported");
    has_template_ = true;
    if (type == "TemplateProcessing") {
        add_template(field, id_limit);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
        const auto id_of = [&](const char* name) {
            const auto pair = field.at(name).items();  // ["[SEP]", 102]
            if (pair.size() != 2) field.at(name).invalid("must be a token and its id");
            return token_id(pair[1], id_limit);
        };
        pieces_ = {id_of("cls"), std::nullopt, id_of("sep")};
    } else {
        field.at("type").unsupported(fmt::format("is {}, a post-processor that is not supported", in_quotes(type)));
    }
}

void PostProcessor::add_template(const TokenizerField& field, TokenId id_limit) {
    pieces_.clear();
    for (const TokenizerField& piece : field.at("single").items()) {
        if (piece.has("Sequence")) {
            if (piece.at("Sequence").at("id").text() != "A") {
                piece.at("Sequence").at("id").invalid("must be \"A\": there is one text");
            }
            pieces_.push_back(std::nullopt);
        } else {
            const std::string name = piece.at("SpecialToken").at("id").text();
            for (const TokenizerField& id : field.at("special_tokens").at(name).at("ids").items()) {
                pieces_.push_back(token_id(id, id_limit));
            }
        }
    }
}

void PostProcessor::configure(const TokenizerField& config,
                              const std::function<std::optional<TokenId>(std::string_view)>& find) {
    const std::string type = config.text_or("tokenizer_class", "");
    const bool own_template = std::ranges::find(kOwnTemplate, type) != kOwnTemplate.end();
    const auto wanted = [&](const char* flag, const char* token, bool fallback) -> std::optional<TokenId> {
        if (!config.flag_or(flag, fallback) || !config.has(token)) return std::nullopt;
        return find(config.at(token).token_content());
    };
    const std::optional<TokenId> first = wanted("add_bos_token", "bos_token", own_template);
    const std::optional<TokenId> last = wanted("add_eos_token", "eos_token", false);
    const bool replaces = own_template && (first || !config.flag_or("add_bos_token", true));
    if (replaces || pieces_.empty()) pieces_ = {std::nullopt};
    if (first && pieces_.front() != first) pieces_.insert(pieces_.begin(), first);
    if (last && pieces_.back() != last) pieces_.push_back(last);
}

std::vector<TokenId> PostProcessor::apply(std::vector<TokenId> ids) const {
    if (pieces_.size() == 1 && !pieces_[0]) return ids;
    std::vector<TokenId> all;
    for (const std::optional<TokenId>& piece : pieces_) {
        if (piece) {
            all.push_back(*piece);
        } else {
            all.insert(all.end(), ids.begin(), ids.end());
        }
    }
    return all;
}

}  // namespace sluice
