#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sluice {

// How text is cut into words, by what `tokenizer.ggml.pre` calls it.
struct GgufPattern {
    std::span<const std::string_view> names;
    std::vector<std::string_view> passes;  // Oniguruma's syntax, one after the other
    bool ignores_merges = false;           // a word that is in the vocabulary as it stands is one token
    bool adds_bos = false;                 // where the file does not say
};

// Null for a name that is not known. The empty name is that of a file without the key.
const GgufPattern* find_gguf_pattern(std::string_view name);

// "gpt-2, olmo, qwen2", for messages.
std::string gguf_pattern_names();

}  // namespace sluice
