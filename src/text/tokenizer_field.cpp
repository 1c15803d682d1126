#include "text/tokenizer_field.h"

#include <nlohmann/json.hpp>

#include "unicode/utf8.h"

namespace sluice {

bool TokenizerField::is_null() const {
    return value_->is_null();
}

bool TokenizerField::is_object() const {
    return value_->is_object();
}

bool TokenizerField::is_array() const {
    return value_->is_array();
}

bool TokenizerField::is_text() const {
    return value_->is_string();
}

std::string TokenizerField::member_place(std::string_view key) const {
    // The document itself is placed as "FILE: "; everything below as "FILE: a.b".
    return fmt::format("{}{}{}", place_, place_.ends_with(' ') ? "" : ".", key);
}

bool TokenizerField::has(std::string_view key) const {
    if (!value_->is_object()) return false;
    const auto found = value_->find(key);
    return found != value_->end() && !found->is_null();
}

TokenizerField TokenizerField::at(std::string_view key) const {
    if (!value_->is_object()) invalid("must be an object");
    const auto found = value_->find(key);
    if (found == value_->end()) fail(ErrorCode::kInvalidFile, "{} is missing", member_place(key));
    return {*found, member_place(key)};
}

std::vector<TokenizerField> TokenizerField::items() const {
    if (!value_->is_array()) invalid("must be an array");
    std::vector<TokenizerField> items;
    items.reserve(value_->size());
    for (const nlohmann::json& item : *value_) {
        items.emplace_back(item, fmt::format("{}[{}]", place_, items.size()));
    }
    return items;
}

std::vector<std::pair<std::string, TokenizerField>> TokenizerField::members() const {
    if (!value_->is_object()) invalid("must be an object");
    std::vector<std::pair<std::string, TokenizerField>> members;
    for (const auto& [name, value] : value_->items()) {
        members.emplace_back(name, TokenizerField(value, member_place(in_quotes(name))));
    }
    return members;
}

std::string TokenizerField::token_content() const {
    return is_object() ? at("content").text() : text();
}

std::string TokenizerField::text() const {
    if (!value_->is_string()) invalid("must be a string");
    return value_->get<std::string>();
}

bool TokenizerField::flag() const {
    if (!value_->is_boolean()) invalid("must be true or false");
    return value_->get<bool>();
}

int64_t TokenizerField::integer() const {
    if (!value_->is_number_integer()) invalid("must be a whole number");
    if (value_->is_number_unsigned() && value_->get<uint64_t>() > INT64_MAX) invalid("is out of range");
    return value_->get<int64_t>();
}

double TokenizerField::number() const {
    if (!value_->is_number()) invalid("must be a number");
    return value_->get<double>();
}

bool TokenizerField::flag_or(std::string_view key, bool fallback) const {
    return has(key) ? at(key).flag() : fallback;
}

std::string TokenizerField::text_or(std::string_view key, std::string_view fallback) const {
    return has(key) ? at(key).text() : std::string(fallback);
}

void TokenizerField::invalid(std::string_view what) const {
    fail(ErrorCode::kInvalidFile, "{} {}", place_, what);
}

void TokenizerField::unsupported(std::string_view what) const {
    fail(ErrorCode::kUnsupported, "{} {}", place_, what);
}

std::string in_quotes(std::string_view text) {
    constexpr size_t kLimit = 80;
    const bool cut = text.size() > kLimit;
    std::string shown = utf8::sanitize(text.substr(0, kLimit));
    for (char& c : shown) {
        if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
    }
    return fmt::format("\"{}{}\"", shown, cut ? "..." : "");
}

}  // namespace sluice
