#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "sluice/tokenizer.h"

namespace sluice::test {

using Ids = std::vector<TokenId>;
using MergeList = std::vector<std::pair<std::string, std::string>>;

// l+l he h+e hell hello _w or _wor ld _world, in this order: tokens 256 to 264.
extern const MergeList kHelloMerges;

// A byte-level tokenizer.json: byte b is token b, and the result of merges[i] is token 256 + i.
nlohmann::json byte_level_document(const MergeList& merges);

// `document` with its member at the JSON pointer `path` set to the JSON in `value`, or removed where that is empty.
// Documents in tests are changed in this way because nlohmann's initializer lists take minutes to compile under
// sanitizers.
nlohmann::json with(nlohmann::json document, const std::string& path, const std::string& value);

// {"added_tokens": ...} of `document` set to the JSON in `tokens`; members not given are false.
nlohmann::json with_added(nlohmann::json document, const std::string& tokens);

Tokenizer tokenizer_of(const nlohmann::json& document);

}  // namespace sluice::test
