#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "text/tokenizer_vocabulary.h"

namespace sluice {

// tokenizer.json taken apart. The vocabulary and the merges, nearly all of the file, never become JSON values.
struct TokenizerFile {
    struct Merge {
        TokenId left = 0;
        TokenId right = 0;
        TokenId result = 0;
        uint32_t rank = 0;  // the lowest goes first; among equals the leftmost
    };

    std::string label;               // the file, for messages
    nlohmann::json rest;             // everything but model.vocab and model.merges; an object
    TokenizerVocabulary vocabulary;  // model.vocab
    std::vector<Merge> merges;       // model.merges
    // Characters that merges join although they are no tokens; a merge has fragment_id(i) for the i-th. What is left of
    // one at the end becomes its bytes.
    std::vector<std::string> fragments = {};
    static TokenId fragment_id(size_t index) { return -2 - static_cast<TokenId>(index); }

    // Throws kInvalidFile or, for a model that is not BPE, kUnsupported.
    static TokenizerFile parse(std::string_view json, const std::string& label);
};

}  // namespace sluice
