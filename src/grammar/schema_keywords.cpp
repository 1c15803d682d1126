#include "grammar/schema_keywords.h"

#include <algorithm>
#include <array>

namespace sluice::grammar {

namespace {

using Json = nlohmann::ordered_json;
using Form = KeywordForm;
using Use = KeywordUse;

constexpr std::array kKeywords = {
    Keyword{"type", Form::kTypes, Use::kServedAsRule},
    Keyword{"enum", Form::kList, Use::kServedAsRule},
    Keyword{"const", Form::kAny, Use::kServedAsRule},
    Keyword{"properties", Form::kSchemaMap, Use::kServedAsRule},
    Keyword{"required", Form::kNames, Use::kServedAsRule},
    Keyword{"additionalProperties", Form::kSchema, Use::kServedAsRule},
    Keyword{"propertyNames", Form::kSchema, Use::kServedAsRule},
    Keyword{"minProperties", Form::kCount, Use::kServedAsRule},
    Keyword{"maxProperties", Form::kCount, Use::kServedAsRule},
    Keyword{"items", Form::kSchemaOrList, Use::kServedAsRule},
    Keyword{"prefixItems", Form::kSchemaList, Use::kServedAsRule},
    Keyword{"additionalItems", Form::kSchema, Use::kServedAsRule},
    Keyword{"minItems", Form::kCount, Use::kServedAsRule},
    Keyword{"maxItems", Form::kCount, Use::kServedAsRule},
    Keyword{"uniqueItems", Form::kFlag, Use::kServedAsRule},
    Keyword{"minimum", Form::kNumber, Use::kServedAsRule},
    Keyword{"maximum", Form::kNumber, Use::kServedAsRule},
    Keyword{"exclusiveMinimum", Form::kNumber, Use::kServedAsRule},
    Keyword{"exclusiveMaximum", Form::kNumber, Use::kServedAsRule},
    Keyword{"multipleOf", Form::kPositiveNumber, Use::kServedAsRule},
    Keyword{"minLength", Form::kCount, Use::kServedAsRule},
    Keyword{"maxLength", Form::kCount, Use::kServedAsRule},
    Keyword{"pattern", Form::kText, Use::kServedAsRule},
    Keyword{"format", Form::kText, Use::kServedAsRule},
    Keyword{"allOf", Form::kSchemaList, Use::kServed},
    Keyword{"anyOf", Form::kSchemaList, Use::kServed},
    Keyword{"oneOf", Form::kSchemaList, Use::kServed},
    Keyword{"$ref", Form::kText, Use::kServed},
    Keyword{"not", Form::kSchema, Use::kRefused},
    Keyword{"if", Form::kSchema, Use::kRefused},
    Keyword{"contains", Form::kSchema, Use::kRefused},
    Keyword{"patternProperties", Form::kSchemaMap, Use::kRefused},
    Keyword{"dependentRequired", Form::kNamesMap, Use::kRefused},
    Keyword{"dependentSchemas", Form::kSchemaMap, Use::kRefused},
    Keyword{"dependencies", Form::kSchemaOrNamesMap, Use::kRefused},
    Keyword{"unevaluatedItems", Form::kSchema, Use::kRefused},
    Keyword{"unevaluatedProperties", Form::kSchema, Use::kRefused},
    Keyword{"$dynamicRef", Form::kText, Use::kRefused},
    Keyword{"$recursiveRef", Form::kText, Use::kRefused},
    Keyword{"then", Form::kSchema, Use::kNoRule},
    Keyword{"else", Form::kSchema, Use::kNoRule},
    Keyword{"minContains", Form::kCount, Use::kNoRule},
    Keyword{"maxContains", Form::kCount, Use::kNoRule},
    Keyword{"$defs", Form::kSchemaMap, Use::kNoRule},
    Keyword{"definitions", Form::kSchemaMap, Use::kNoRule},
    Keyword{"$id", Form::kText, Use::kNoRule},
    Keyword{"$anchor", Form::kText, Use::kNoRule},
    Keyword{"$dynamicAnchor", Form::kText, Use::kNoRule},
};

bool is_name_list(const Json& value) {
    return value.is_array() && std::ranges::all_of(value, [](const Json& v) { return v.is_string(); });
}

bool is_type(const Json& value) {
    constexpr std::array<std::string_view, 7> kTypes = {"null",   "boolean", "integer", "number",
                                                        "string", "array",   "object"};
    return value.is_string() && std::ranges::find(kTypes, value.get_ref<const std::string&>()) != kTypes.end();
}

bool is_count(const Json& value) {
    if (value.is_number_unsigned()) return true;
    if (!value.is_number_float()) return false;
    const double number = value.get<double>();
    return number >= 0 && number < 1e18 && number == static_cast<double>(static_cast<uint64_t>(number));
}

}  // namespace

std::span<const Keyword> keywords() {
    return kKeywords;
}

const Keyword* find_keyword(std::string_view name) {
    const auto at = std::ranges::find(kKeywords, name, &Keyword::name);
    return at == kKeywords.end() ? nullptr : &*at;
}

std::string_view find_form_fault(KeywordForm form, const Json& value) {
    const auto unless = [](bool holds, std::string_view fault) { return holds ? std::string_view() : fault; };
    switch (form) {
        case Form::kAny:
        case Form::kSchema:
            return {};  // of a schema its own visit tells
        case Form::kSchemaOrList:
            return unless(!value.is_array() || !value.empty(), "must not be an empty list");
        case Form::kSchemaList:
            return unless(value.is_array() && !value.empty(), "must be a list of schemas");
        case Form::kSchemaMap:
        case Form::kSchemaOrNamesMap:
            return unless(value.is_object(), "must be an object of schemas");
        case Form::kNumber:
            return unless(value.is_number(), "must be a number");
        case Form::kPositiveNumber:
            return unless(value.is_number() && value.get<double>() > 0, "must be a number above 0");
        case Form::kCount:
            return unless(is_count(value), "must be a whole number of 0 or more");
        case Form::kText:
            return unless(value.is_string(), "must be a string");
        case Form::kNames:
            return unless(is_name_list(value), "must be a list of strings");
        case Form::kNamesMap:
            return unless(value.is_object() && std::ranges::all_of(value, is_name_list),
                          "must be an object of lists of strings");
        case Form::kTypes:
            return unless(is_type(value) || (value.is_array() && !value.empty() && std::ranges::all_of(value, is_type)),
                          "must be one or a list of null, boolean, integer, number, string, array, object");
        case Form::kList:
            return unless(value.is_array(), "must be a list");
        case Form::kFlag:
            return unless(value.is_boolean(), "must be true or false");
    }
    return {};
}

}  // namespace sluice::grammar
