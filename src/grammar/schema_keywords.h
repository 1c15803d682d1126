#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

namespace sluice::grammar {

// What a keyword of JSON Schema may have as its value.
enum class KeywordForm {
    kSchema,
    kSchemaList,    // at least one
    kSchemaOrList,  // items of draft 7
    kSchemaMap,
    kSchemaOrNamesMap,  // dependencies of draft 7
    kNumber,
    kPositiveNumber,
    kCount,
    kText,
    kNames,
    kNamesMap,
    kTypes,
    kList,
    kFlag,
    kAny,
};

// How a keyword is kept at every token.
enum class KeywordUse {
    kServed,
    kServedAsRule,  // and schemas that have none of these allow everything
    kRefused,       // a rule that no mask keeps
    kNoRule,        // names, or schemas that only references lead to
};

struct Keyword {
    std::string_view name;
    KeywordForm form;
    KeywordUse use;
};

std::span<const Keyword> keywords();
const Keyword* find_keyword(std::string_view name);

// What is wrong with the value, or nothing: "must be a number".
std::string_view find_form_fault(KeywordForm form, const nlohmann::ordered_json& value);

}  // namespace sluice::grammar
