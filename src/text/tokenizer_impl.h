#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sluice/tokenizer.h"
#include "text/added_tokens.h"
#include "text/byte_pair_encoding.h"
#include "text/normalizer.h"
#include "text/post_processor.h"
#include "text/pre_tokenizer.h"
#include "text/token_decoder.h"

namespace sluice {

struct Tokenizer::Impl {
    std::string label;
    BytePairEncoding model;
    Normalizer normalizer;
    AddedTokens added;
    PreTokenizer pre_tokenizer;
    PostProcessor post_processor;
    TokenDecoder decoder;

    // `config`: tokenizer_config.json and what counts as part of it; `folder` is for messages.
    Impl(TokenizerFile file, const nlohmann::json& config, const std::filesystem::path& folder);

    // Of valid UTF-8.
    std::vector<TokenId> encode(std::string_view text, const TrustedRanges& trusted, bool add_special_tokens) const;
    TokenId id_limit() const;
    std::optional<TokenId> find(std::string_view content) const;
    // What the file calls the token; empty for an id that no token has. Throws kUsage for one past the vocabulary.
    std::string_view content(TokenId id) const;
};

}  // namespace sluice
