#pragma once

#include <optional>
#include <string>
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

    std::vector<TokenId> apply(std::vector<TokenId> ids) const;

  private:
    void add(const TokenizerField& field, TokenId id_limit);
    void add_template(const TokenizerField& field, TokenId id_limit);

    std::vector<std::optional<TokenId>> pieces_ = {std::nullopt};  // empty: where the text goes
    bool has_template_ = false;
};

}  // namespace sluice
