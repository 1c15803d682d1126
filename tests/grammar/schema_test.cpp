#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/grammar/grammar_fixture.h"

namespace sluice::test {
namespace {

using ::testing::HasSubstr;

struct SchemaCase {
    const char* name;
    const char* schema;
    std::vector<const char*> good;
    std::vector<const char*> bad;
};

// What a failure prints.
void PrintTo(const SchemaCase& c, std::ostream* out) {
    *out << c.schema;
}

const SchemaCase kCases[] = {
    {"any", "true", {"null", "-1.5e3", R"(["a",{"b":{}}])", R"("\u00e9")"}, {"", "nul", "[1,]", "{'a':1}", "01", "+1"}},
    {"spaces",
     R"({"type":"object","properties":{"a":{"items":{"type":"integer"}}}})",
     {R"({"a":[1,2]})", R"({"a": [1, 2]})", "{\n  \"a\": [\n    1,\n    2\n  ]\n}", "{ }", "{}"},
     {R"({"a":  1})", R"( {"a":1})", R"({"a" :1})", R"({"a":1} )", "{\n\n}"}},
    {"integer_bounds",
     R"({"type":"integer","minimum":-13,"maximum":27})",
     {"-13", "0", "27", "5", "27.0"},
     {"-14", "28", "1.5", "-0", "007", "27.1", "1e1", "270"}},
    {"integer_exclusive",
     R"({"type":"integer","exclusiveMinimum":9,"exclusiveMaximum":12})",
     {"10", "11"},
     {"9", "12", "1", "100"}},
    {"integer_large",
     R"({"type":"integer","minimum":1999,"maximum":1000003})",
     {"1999", "1000003", "20000"},
     {"1998", "1000004", "999"}},
    {"integer_low", R"({"type":"integer","maximum":-5})", {"-5", "-70", "-123456"}, {"-4", "3", "-0", "0"}},
    {"number_bounds",
     R"({"type":"number","minimum":0,"maximum":1})",
     {"0.25", "1", "0", "1.000", "0.0"},
     {"1.01", "-0.1", "600", "2"}},
    {"number_decimals",
     R"({"type":"number","minimum":-2.5,"exclusiveMaximum":3.75})",
     {"-2.5", "3.7", "-2.4999", "3.7499", "0", "-2.50"},
     {"-2.6", "3.76", "3.75", "-2.51", "-3", "3.750"}},
    {"multiple", R"({"type":"integer","minimum":0,"multipleOf":5})", {"0", "35", "1000"}, {"36", "3", "1"}},
    {"length_in_characters",
     R"({"type":"string","minLength":2,"maxLength":2})",
     {R"("🦊é")", R"("ab")", R"("\ud83e\udd8a\n")"},
     {R"("🦊")", R"("abc")", R"("\ud83e")"}},
    {"long_length", R"({"type":"string","maxLength":10000})", {R"("abc")", R"("")"}, {"\"a\nb\""}},
    {"escapes",
     R"({"type":"string"})",
     {R"("\"\\\/\b\f\n\r\t\u0041")"},
     {R"("\x")", R"("\u00g0")", R"("\udc00")", "\"\xFF\"", "\"\xC0\x80\"", "\"\xED\xA0\x80\""}},
    {"anchored",
     R"({"type":"string","pattern":"^[A-Z]{2}-[0-9]{2,4}$"})",
     {R"("AB-12")", R"("XY-1234")", R"("\u0041B-12")"},
     {R"("A-12")", R"("AB-1")", R"("AB-12\n")", R"("AB-12345")"}},
    {"unanchored",
     R"({"type":"string","pattern":"[0-9]","maxLength":4})",
     {R"("abc7")", R"("7abc")", R"("7")"},
     {R"("abc")", R"("abcd7")"}},
    {"half_anchored",
     R"({"type":"string","pattern":"^a|b$"})",
     {R"("axx")", R"("xxb")", R"("a")"},
     {R"("xax")", R"("bx")", R"("")"}},
    {"pattern_escapes",
     R"({"type":"string","pattern":"^\\d{3}\\.\\w{2}\\s\\S$"})",
     {R"("123.ab c")"},
     {R"("12.ab c")", R"("123xab c")"}},
    {"pattern_beside_length",
     R"({"type":"string","pattern":"^(ab)*$","minLength":3,"maxLength":5})",
     {R"("abab")"},
     {R"("ab")", R"("ababab")", R"("aba")"}},
    {"pattern_counted",
     R"({"type":"string","pattern":"^/[a-z]{2,9000}$"})",
     {R"("/ab")", R"("/abcabcabc")"},
     {R"("/a")", R"("ab")"}},
    {"two_patterns",
     R"({"allOf":[{"type":"string","pattern":"a"},{"pattern":"b"}]})",
     {R"("ab")", R"("xbxa")"},
     {R"("a")", R"("b")"}},
    {"property_of_characters",
     R"({"type":"string","pattern":"^\\p{Lu}\\p{Letter}*$"})",
     {R"("Été")", R"("Ω")"},
     {R"("été")", R"("A1")"}},
    {"date",
     R"({"type":"string","format":"date"})",
     {R"("2024-02-29")", R"("2000-02-29")"},
     {R"("2023-02-29")", R"("1900-02-29")", R"("2024-2-1")", R"("2024-04-31")"}},
    {"date_time",
     R"({"format":"date-time","type":"string"})",
     {R"("2024-05-01T12:30:00Z")", R"("2024-05-01t12:30:00.5+01:00")"},
     {R"("2024-05-01")", R"("2024-05-01T25:00:00Z")", R"("2024-05-01T12:30:60Z")"}},
    {"time",
     R"({"format":"time","type":"string"})",
     {R"("23:59:60Z")", R"("01:29:60+01:30")", R"("15:59:60-08:00")"},
     {R"("22:59:60Z")", R"("23:59:60+01:00")", R"("12:00:00")"}},
    {"uuid", R"({"format":"uuid","type":"string"})", {R"("123e4567-e89b-12d3-a456-426614174000")"}, {R"("123e4567")"}},
    {"email",
     R"({"format":"email","type":"string","maxLength":24})",
     {R"("fox@den.org")"},
     {R"("fox")", R"("fox@den")", R"("fox@den.organisation.example")"}},
    {"ipv4",
     R"({"format":"ipv4","type":"string"})",
     {R"("255.0.10.1")"},
     {R"("256.0.0.1")", R"("1.2.3")", R"("01.2.3.4")"}},
    {"uri",
     R"({"format":"uri","type":"string"})",
     {R"("http://a@x.org:80/b?c#d")", R"("urn:a:b")", R"("http://[::1]/")"},
     {R"("//x")", R"("http:// x")", R"("x")"}},
    {"unknown_format", R"({"format":"hostname","type":"string"})", {R"("any thing")"}, {"1"}},
    {"enum_mixed",
     R"({"enum":["one",2,true,null,[1],{"a":1}]})",
     {R"("one")", "2", "2.0", "[1]", R"({"a":1})", R"({ "a": 1 })"},
     {"3", R"("true")", "[]", R"({"a":2})"}},
    {"enum_filtered", R"({"enum":["fox",7,"bear",12],"type":"integer","minimum":8})", {"12"}, {"7", R"("fox")"}},
    {"const_shares_begin",
     R"({"anyOf":[{"const":"fox"},{"const":"foxes"},{"const":"foxglove"}]})",
     {R"("foxes")", R"("fox")", R"("foxglove")"},
     {R"("foxe")"}},
    {"const_escaped", R"({"const":"say \"hi\"\n"})", {R"("say \"hi\"\n")"}, {R"("say hi")"}},
    {"const_number", R"({"const":-2.5})", {"-2.5", "-2.50"}, {"2.5", "-2"}},
    {"type_list", R"({"type":["integer","null"],"minimum":5})", {"7", "null"}, {"4", R"("7")"}},
    {"list",
     R"({"type":"array","items":{"type":"integer"},"minItems":2,"maxItems":4})",
     {"[1,2]", "[9,9,9,0]"},
     {"[1]", "[1,2,3,4,5]", "[]", R"([1,"a"])"}},
    {"long_list", R"({"type":"array","items":{"const":1},"maxItems":100000})", {"[]", "[1,1,1]"}, {"[2]"}},
    {"empty_list", R"({"type":"array","maxItems":0})", {"[]", "[ ]"}, {"[1]"}},
    {"tuple",
     R"({"type":"array","prefixItems":[{"type":"string"},{"type":"boolean"}],"items":false,"minItems":1})",
     {R"(["a",true])", R"(["a"])"},
     {"[]", R"(["a",true,0])", R"([true])"}},
    {"old_tuple",
     R"({"type":"array","items":[{"const":1}],"additionalItems":{"const":2}})",
     {"[1,2,2]", "[]"},
     {"[2]", "[1,1]"}},
    {"optional",
     R"({"type":"object","properties":{"a":{"const":1},"b":{"type":"string"},"c":{"type":"boolean"}},"required":["b"],"additionalProperties":false})",
     {R"({"b":"x"})", R"({"a":1,"b":"x","c":true})", R"({"b":"","c":false})"},
     {R"({"a":1})", R"({"b":"x","d":1})", "{}", R"({"b":"x","b":"y"})", R"({"a":1,})"}},
    {"all_optional",
     R"({"type":"object","properties":{"a":{"const":1},"b":{"const":2}},"additionalProperties":false})",
     {"{}", R"({"a":1})", R"({"b":2})", R"({"a":1,"b":2})"},
     {R"({,"b":2})", R"({"c":3})"}},
    {"others_excluded",
     R"({"type":"object","properties":{"foo":{"const":1}},"additionalProperties":{"type":"string"}})",
     {R"({"foo":1,"bar":"x"})", R"({"fo":"x","foox":"y"})"},
     {R"({"foo":"x"})", R"({"bar":1})", R"({"f\u006fo":"x"})"}},
    {"map",
     R"({"type":"object","additionalProperties":{"const":1},"propertyNames":{"maxLength":3},"maxProperties":2,"minProperties":1})",
     {R"({"a":1})", R"({"abc":1,"b":1})"},
     {"{}", R"({"abcd":1})", R"({"a":1,"b":1,"c":1})"}},
    {"required_undeclared",
     R"({"type":"object","required":["x"]})",
     {R"({"x":1})", R"({"x":[],"y":2})"},
     {"{}", R"({"y":1})"}},
    {"all_of",
     R"({"allOf":[{"type":"object","properties":{"a":{"const":1}},"required":["a"]},{"type":"object","properties":{"b":{"type":"string"}},"required":["b"]}]})",
     {R"({"a":1,"b":"x"})"},
     {R"({"a":1})", R"({"b":"x"})"}},
    {"any_of_beside",
     R"({"type":"object","properties":{"k":{"type":"string"}},"anyOf":[{"required":["k"]},{"required":["x"],"properties":{"x":{"const":1}}}]})",
     {R"({"k":"v"})", R"({"x":1})", R"({"k":"v","x":1})"},
     {"{}", R"({"x":2})"}},
    {"one_of_tagged",
     R"({"oneOf":[{"type":"object","properties":{"t":{"const":"c"},"r":{"const":1}},"required":["t","r"]},{"type":"object","properties":{"t":{"const":"s"}},"required":["t"]}]})",
     {R"({"t":"c","r":1})", R"({"t":"s"})"},
     {R"({"t":"c"})", R"({"t":"x"})"}},
    {"references",
     R"({"$defs":{"a/b":{"type":"boolean"}},"type":"array","items":{"$ref":"#/$defs/a~1b","enum":[true,1]}})",
     {"[true]"},
     {"[false]", "[1]"}},
    {"recursion",
     R"({"$defs":{"n":{"type":"object","properties":{"v":{"const":1},"k":{"type":"array","items":{"$ref":"#/$defs/n"}}},"required":["v","k"],"additionalProperties":false}},"$ref":"#/$defs/n"})",
     {R"({"v":1,"k":[]})", R"({"v":1,"k":[{"v":1,"k":[{"v":1,"k":[]}]}]})"},
     {R"({"v":1})", R"({"v":1,"k":[{"v":1}]})"}},
    {"recursion_to_root",
     R"({"anyOf":[{"type":"null"},{"type":"array","items":{"$ref":"#"}}]})",
     {"null", "[[],[null]]"},
     {"[1]"}},
    {"anchors",
     R"({"$id":"http://x/root","$ref":"sub#here","$defs":{"s":{"$id":"sub","$defs":{"t":{"$anchor":"here","const":1}}}}})",
     {"1"},
     {"2"}},
    {"odd_names",
     R"({"type":"object","properties":{"a b":{"const":0},"quo\"te":{"const":0},"":{"const":0}},"required":["a b","quo\"te",""],"additionalProperties":false})",
     {R"({"a b":0,"quo\"te":0,"":0})"},
     {R"({"a b":0})"}},
};

class SchemaMask : public ::testing::TestWithParam<SchemaCase> {};

TEST_P(SchemaMask, takes_what_is_valid) {
    const SchemaCase& c = GetParam();
    const std::shared_ptr<const Grammar> grammar = schema_grammar(c.schema);
    for (const char* text : c.good) EXPECT_TRUE(takes(grammar, text)) << text;
    for (const char* text : c.bad) EXPECT_FALSE(takes(grammar, text)) << text;
}

INSTANTIATE_TEST_SUITE_P(Cases, SchemaMask, ::testing::ValuesIn(kCases),
                         [](const auto& test) { return std::string(test.param.name); });

struct RefusedSchema {
    const char* schema;
    const char* message;
};

TEST(Schema, refuses_by_name) {
    const RefusedSchema kRefused[] = {
        {"{", "the schema"},
        {"3", "the schema at # must be an object, true or false"},
        {R"({"properties":{"a":{"not":{}}}})", "`not` at #/properties/a is not supported"},
        {R"({"if":{"const":1},"then":{"const":1}})", "`if` at #"},
        {R"({"patternProperties":{"a":{}}})", "`patternProperties` at #"},
        {R"({"type":"array","uniqueItems":true})", "`uniqueItems` at #"},
        {R"({"multipleOf":0.1})", "`multipleOf` at #"},
        {R"({"type":"strong"})", "`type` at # must be"},
        {R"({"minLength":-1})", "`minLength` at # must be"},
        {R"({"required":"a"})", "`required` at # must be"},
        {R"({"properties":{"v":{"type":"string","pattern":"(["}}})", "`pattern` at #/properties/v has no end of its"},
        {R"-({"type":"string","pattern":"(?=a)"})-", "lookahead"},
        {R"({"type":"string","pattern":"(a)\\1"})", "back reference"},
        {R"({"type":"string","pattern":"a**"})", "nothing to repeat"},
        {R"({"$ref":"#/$defs/missing"})", "`$ref` at # names \"#/$defs/missing\", which is not in the document"},
        {R"({"$ref":"http://json-schema.org/draft-07/schema#"})", "is not in the document"},
        {R"({"$ref":"#"})", "refers back to itself"},
        {R"({"anyOf":[{"$ref":"#"},{"type":"null"}]})", "refers back to itself"},
        {"false", "the schema at # allows nothing"},
        {R"({"enum":[]})", "the schema at # allows nothing"},
        {R"({"type":"string","minLength":3,"maxLength":2})", "allows nothing"},
        {R"({"type":"integer","minimum":3,"maximum":2})", "allows nothing"},
        {R"({"type":"object","properties":{"a":false},"required":["a"]})", "allows nothing"},
        {R"({"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]})", "allows nothing"},
        {R"({"type":"string","pattern":"^a{3}$","maxLength":2})", "allows nothing"},
        {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "`oneOf` at # is not supported: its branches 0 and 1"},
    };
    for (const RefusedSchema& refused : kRefused) {
        EXPECT_THAT(schema_error(refused.schema), HasSubstr(refused.message)) << refused.schema;
    }
}

TEST(Schema, branches_that_overlap_are_narrowed) {
    // Tags that need not be there, and properties of which one must be.
    const auto tagged = schema_grammar(R"({"oneOf":[
        {"type":"object","properties":{"t":{"const":"c"},"r":{"const":1}}},
        {"type":"object","properties":{"t":{"enum":["s","q"]}}}]})");
    EXPECT_TRUE(takes(tagged, R"({"t":"c","r":1})"));
    EXPECT_TRUE(takes(tagged, R"({"t":"s","r":2})"));
    EXPECT_FALSE(takes(tagged, "{}"));
    EXPECT_FALSE(takes(tagged, R"({"t":"c","r":2})"));
    const auto either = schema_grammar(R"({"type":"object","properties":{"a":{},"b":{},"c":{}},
        "oneOf":[{"required":["a","b"]},{"required":["a","c"]}]})");
    EXPECT_TRUE(takes(either, R"({"a":1,"b":1})"));
    EXPECT_TRUE(takes(either, R"({"a":1,"c":1})"));
    EXPECT_FALSE(takes(either, R"({"a":1,"b":1,"c":1})"));
    EXPECT_FALSE(takes(either, R"({"a":1})"));
}

TEST(Schema, bounds_do_not_multiply_states) {
    // Each would be tens of thousands of states were its bound unrolled.
    for (const char* schema :
         {R"({"type":"string","minLength":9000,"maxLength":10000})",
          R"({"type":"array","items":{"type":"string","pattern":"^[a-z]{1,10000}$"},"maxItems":90000})",
          R"({"type":"string","pattern":"a","maxLength":10000})"}) {
        EXPECT_EQ(schema_error(schema), "");
    }
    const std::shared_ptr<const Grammar> exact =
        schema_grammar(R"({"type":"string","minLength":3000,"maxLength":3000})");
    EXPECT_TRUE(takes_bytes(exact, '"' + std::string(3000, 'x') + '"'));
    EXPECT_FALSE(takes_bytes(exact, '"' + std::string(2999, 'x') + '"'));
    EXPECT_FALSE(takes_bytes(exact, '"' + std::string(3001, 'x') + '"'));
}

// Every token at every place of a text: the mask has it just where its bytes may follow.
TEST(Schema, masks_are_what_bytes_allow) {
    const char* schema = R"({"type":"object","properties":{
        "name":{"type":"string","maxLength":6},"n":{"type":"number","minimum":-1.5,"maximum":120},
        "w":{"type":"string","pattern":"^[a-z]{2,5}(-[0-9]+)?$","minLength":4},
        "foo":{"anyOf":[{"type":"array","items":{"type":"boolean"},"maxItems":2},{"enum":["fox","foxes"]}]}},
        "required":["name","n","w","foo"]})";
    const char* text =
        R"({"name": "aé🦊\n\u00e9", "n": -1.25, "w": "abc-12","foo": [true, false], "bar":{"x":null}})";
    const Tokenizer& tokenizer = json_tokenizer();
    GrammarState state(schema_grammar(schema));
    size_t allowed = 0;
    for (const char* at = text; *at != '\0'; ++at) {
        const std::vector<TokenId> ids = allowed_tokens(state);
        allowed += ids.size();
        for (TokenId id = 0; id < static_cast<TokenId>(tokenizer.vocabulary_size()); ++id) {
            if (tokenizer.is_added(id)) continue;
            GrammarState copy = state;
            const bool bytes = copy.accept(tokenizer.token_bytes(id));
            ASSERT_EQ(std::ranges::binary_search(ids, id), bytes)
                << "token '" << tokenizer.token_bytes(id) << "' before " << at;
        }
        ASSERT_TRUE(state.accept(std::string_view(at, 1))) << at;
    }
    EXPECT_TRUE(state.is_finished());
    EXPECT_GT(allowed, 1000u);
}

TEST(Schema, draws_valid_documents) {
    const std::shared_ptr<const Grammar> grammar = schema_grammar(R"({"type":"object","properties":{
        "id":{"type":"integer","minimum":-5,"maximum":1200},"kind":{"enum":["fox","dog",3]},
        "tags":{"type":"array","items":{"type":"string","minLength":1,"maxLength":4},"minItems":1,"maxItems":3}},
        "required":["id","tags"],"additionalProperties":false})");
    size_t whole = 0;
    for (uint64_t seed = 0; seed < 200; ++seed) {
        std::string text;
        if (!draw(grammar, seed, 400, text)) continue;
        ++whole;
        const nlohmann::json value = nlohmann::json::parse(text);
        EXPECT_GE(value.at("id").get<double>(), -5);
        EXPECT_LE(value.at("id").get<double>(), 1200);
        EXPECT_GE(value.at("tags").size(), 1u);
        EXPECT_LE(value.at("tags").size(), 3u);
        for (const nlohmann::json& tag : value.at("tags")) EXPECT_NE(tag.get<std::string>(), "");
        EXPECT_EQ(value.size(), value.contains("kind") ? 3u : 2u);
    }
    EXPECT_GT(whole, 150u);
}

}  // namespace
}  // namespace sluice::test
