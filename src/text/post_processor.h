#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sluice/tokenizer.h"

namespace sluice {

class TokenizerField;

// `post_processor` of tokenizer.json: the special tokens around a text (BOS, EOS). Immutable, thread-safe.
class PostProcessor {
  public:
    PostProcessor() = default;  // adds nothing
    // `id_limit`: the largest id + 1. Throws kInvalidFile; kUnsupported, naming it, for a type that is not known.
    static PostProcessor parse(const TokenizerField& field, TokenId id_limit);

    // Obeys add_bos_token and add_eos_token of tokenizer_config.json as transformers does: some classes of tokenizers
    // put a template of their own in place of the file's, for the others the two add to it. `find`: a token's id.
    void configure(const TokenizerField& config,
                   const std::function<std::optional<TokenId>(std::string_view content)>& find);

    std::vector<TokenId> apply(std::vector<TokenId> ids) const;

  private:
    void add(const TokenizerField& field, TokenId id_limit);
    void add_template(const TokenizerField& field, TokenId id_limit);

    std::vector<std::optional<TokenId>> pieces_ = {std::nullopt};  // empty: where the text goes
    bool has_template_ = false;
};

}  // namespace sluice
