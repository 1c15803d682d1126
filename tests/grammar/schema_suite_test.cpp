// The official test suite of JSON Schema as masks, where the shared data stands beside the checkout.

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "sluice/error.h"
#include "tests/grammar/grammar_fixture.h"
#include "tests/support/source_file.h"

namespace sluice::test {
namespace {

using Json = nlohmann::ordered_json;

// The value in all orders of its members: a mask holds them to the schema's order, a schema does not.
std::vector<Json> orders_of(const Json& value) {
    std::vector<Json> all;
    if (value.is_array()) {
        all.push_back(Json::array());
        for (const Json& element : value) {
            std::vector<Json> longer;
            for (const Json& begin : all) {
                for (const Json& order : orders_of(element)) {
                    longer.push_back(begin);
                    longer.back().push_back(order);
                }
            }
            all = std::move(longer);
        }
        return all;
    }
    if (!value.is_object()) return {value};
    std::vector<std::string> names;
    for (const auto& [name, member] : value.items()) names.push_back(name);
    if (names.size() <= 4) std::ranges::sort(names);
    do {
        std::vector<Json> begins{Json::object()};
        for (const std::string& name : names) {
            std::vector<Json> longer;
            for (const Json& begin : begins) {
                for (const Json& order : orders_of(value[name])) {
                    longer.push_back(begin);
                    longer.back()[name] = order;
                }
            }
            begins = std::move(longer);
        }
        all.insert(all.end(), begins.begin(), begins.end());
    } while (names.size() <= 4 && std::ranges::next_permutation(names).found);
    return all;
}

// Where the suite means something else than the server: formats are rules there, e-mail addresses are held to what
// validators in use agree on, and a metaschema of one's own switches no rule off.
bool is_agreed_otherwise(const std::string& name, const Json& test) {
    const std::string description = test["description"].get<std::string>();
    if (name.starts_with("format: ")) return description.find("is only an annotation by default") != std::string::npos;
    if (name.starts_with("email: ")) {
        return description.find("quoted string") != std::string::npos ||
               description.find("address-literal") != std::string::npos;
    }
    if (name.starts_with("vocabulary: ")) return description.find("no validation") != std::string::npos;
    // Printed with an exponent, which is no JSON library's way for this number but the test's own.
    return test["data"] == Json(9007199254740992.0);
}

// Only these reasons there are: a keyword that may be refused by name, branches that overlap, nothing that satisfies
// the schema, another document.
bool is_good_reason(const std::string& message, const Json& group) {
    for (const char* keyword :
         {"not", "if", "contains", "patternProperties", "dependentRequired", "dependentSchemas", "unevaluatedItems",
          "unevaluatedProperties", "$dynamicRef", "uniqueItems", "multipleOf", "oneOf"}) {
        if (message.starts_with("`" + std::string(keyword) + "` at #")) return true;
    }
    if (message.ends_with("allows nothing")) {
        return std::ranges::none_of(group["tests"], [](const Json& test) { return test["valid"].get<bool>(); });
    }
    return message.starts_with("`$ref` at #") && message.ends_with("is not in the document") &&
           message.find("\"#") == std::string::npos;
}

bool takes_some_order(const std::shared_ptr<const Grammar>& grammar, const Json& value) {
    for (const Json& order : orders_of(value)) {
        if (takes(grammar, order.dump())) return true;
        if (takes(grammar, order.dump(2))) return true;
    }
    return false;
}

TEST(SchemaSuite, masks_agree) {
    const std::filesystem::path folder = testing::source_file("/../shared/server/json-schema-suite");
    if (!std::filesystem::exists(folder)) GTEST_SKIP();
    size_t served = 0, instances = 0;
    for (const auto& file : std::filesystem::recursive_directory_iterator(folder)) {
        if (file.path().extension() != ".json") continue;
        std::ifstream in(file.path());
        for (const Json& group : Json::parse(in)) {
            const std::string name = file.path().stem().string() + ": " + group["description"].get<std::string>();
            std::shared_ptr<const Grammar> grammar;
            try {
                grammar = schema_grammar(group["schema"].dump());
            } catch (const Error& error) {
                EXPECT_TRUE(is_good_reason(error.what(), group)) << name << ": " << error.what();
                continue;
            }
            ++served;
            for (const Json& test : group["tests"]) {
                ++instances;
                const bool valid = test["valid"].get<bool>();
                if (is_agreed_otherwise(name, test)) continue;
                if (takes_some_order(grammar, test["data"]) == valid) continue;
                ADD_FAILURE() << name << ", " << test["description"].get<std::string>() << ": " << test["data"].dump()
                              << (valid ? " is valid" : " is not valid");
            }
        }
    }
    RecordProperty("schemas", static_cast<int>(served));
    RecordProperty("instances", static_cast<int>(instances));
    EXPECT_GT(served, 200u);
}

}  // namespace
}  // namespace sluice::test
