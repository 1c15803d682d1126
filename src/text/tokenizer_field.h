#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/error.h"

namespace sluice {

// A value of tokenizer.json together with its place ("FILE: pre_tokenizer.pretokenizers[1].pattern"), so that whatever
// is wrong with it can be said in one line. Points into the document.
class TokenizerField {
  public:
    TokenizerField(const nlohmann::json& value, std::string place) : value_(&value), place_(std::move(place)) {}

    bool is_null() const;
    bool is_object() const;
    bool is_array() const;
    bool is_text() const;
    bool has(std::string_view key) const;  // an object's member that is not null

    // Each throws kInvalidFile where the value is missing or of another kind.
    TokenizerField at(std::string_view key) const;
    std::vector<TokenizerField> items() const;
    std::vector<std::pair<std::string, TokenizerField>> members() const;  // sorted by name
    std::string text() const;
    std::string token_content() const;  // of a token: a string, or an object with `content`
    bool flag() const;
    int64_t integer() const;
    double number() const;

    bool flag_or(std::string_view key, bool fallback) const;
    std::string text_or(std::string_view key, std::string_view fallback) const;

    const std::string& place() const { return place_; }
    [[noreturn]] void invalid(std::string_view what) const;
    [[noreturn]] void unsupported(std::string_view what) const;

  private:
    std::string member_place(std::string_view key) const;
    const nlohmann::json* value_;
    std::string place_;
};

// `text` in double quotes, short enough for one line of a message, with control characters replaced.
std::string in_quotes(std::string_view text);

}  // namespace sluice
