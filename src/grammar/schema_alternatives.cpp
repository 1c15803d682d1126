#include "grammar/schema_alternatives.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "grammar/schema_keywords.h"

namespace sluice::grammar {

namespace {

constexpr size_t kMaxChoices = 1000;
constexpr size_t kLongestPath = 600;  // of schemas that refer to and combine others

// Whether a keyword that is a rule has a value that rules out nothing.
bool rules_nothing(const Json& schema, std::string_view keyword, const Json& value) {
    if (keyword == "if") return !schema.contains("then") && !schema.contains("else");
    if (keyword == "unevaluatedItems" || keyword == "unevaluatedProperties") {
        return value == Json(true) || (value.is_object() && value.empty());
    }
    return value.is_object() && value.empty() &&
           (keyword == "patternProperties" || keyword == "dependentRequired" || keyword == "dependentSchemas" ||
            keyword == "dependencies");
}

bool uses(const Json& schema, KeywordUse use) {
    return std::ranges::any_of(schema.items(), [&](const auto& member) {
        const Keyword* keyword = find_keyword(member.key());
        return keyword != nullptr && keyword->use == use;
    });
}

struct Branches {
    SchemaId owner = 0;
    bool exclusive = false;  // oneOf
    std::vector<SchemaId> branches = {};
    std::vector<SchemaId> ancestors = {};  // what led to the owner, itself included
};

class Resolver {
  public:
    Resolver(SchemaDocument& document, const Narrowings& narrowings) : document_(document), narrowings_(narrowings) {}

    Alternatives run(const Requirements& requirements) {
        State state;
        for (const Requirement& requirement : requirements) {
            std::vector<SchemaId> path;
            if (requirement.plain) {
                add_plain(requirement.schema, state);
            } else if (!collect(requirement.schema, path, state)) {
                return std::move(result_);
            }
        }
        expand(std::move(state));
        return std::move(result_);
    }

  private:
    struct State {
        std::set<SchemaId> seen = {};
        std::set<SchemaId> plain = {};
        std::vector<Branches> open = {};
    };

    void add_plain(SchemaId id, State& state) const {
        const Json& schema = document_.schema(id);
        if (schema.is_object() && uses(schema, KeywordUse::kServedAsRule)) state.plain.insert(id);
    }

    void refuse_unsupported(SchemaId id, const Json& schema) const {
        for (const auto& [key, value] : schema.items()) {
            const Keyword* keyword = find_keyword(key);
            if (keyword != nullptr && keyword->use == KeywordUse::kRefused && !rules_nothing(schema, key, value)) {
                document_.refuse(id, key, "is not supported");
            }
        }
    }

    // False where nothing can hold. `path`: the schemas that this one is part of.
    bool collect(SchemaId id, std::vector<SchemaId>& path, State& state) {
        if (std::ranges::find(path, id) != path.end()) {
            fail(ErrorCode::kUsage, "the schema at {} refers back to itself before it says anything",
                 document_.pointer(id));
        }
        if (!state.seen.insert(id).second) return true;
        const Json& schema = document_.schema(id);
        if (schema.is_boolean()) return schema.get<bool>();
        if (path.size() > kLongestPath) {
            fail(ErrorCode::kUsage, "the schema at {} is reached over too many others", document_.pointer(id));
        }
        refuse_unsupported(id, schema);
        add_plain(id, state);
        path.push_back(id);
        bool possible = true;
        if (schema.contains("$ref")) possible = collect(document_.target(id), path, state);
        if (possible && schema.contains("allOf")) {
            for (const Json& part : schema["allOf"]) {
                possible = possible && collect(document_.id_of(part), path, state);
            }
        }
        for (const char* keyword : {"anyOf", "oneOf"}) {
            if (!schema.contains(keyword)) continue;
            Branches branches{.owner = id, .exclusive = keyword == std::string_view("oneOf"), .ancestors = path};
            for (const Json& branch : schema[keyword]) branches.branches.push_back(document_.id_of(branch));
            state.open.push_back(std::move(branches));
        }
        path.pop_back();
        return possible;
    }

    void expand(State state) {
        if (state.open.empty()) {
            PlainRules rules(state.plain.begin(), state.plain.end());
            if (std::ranges::find(result_.choices, rules) == result_.choices.end()) {
                result_.choices.push_back(std::move(rules));
            }
            return;
        }
        const Branches branches = std::move(state.open.back());
        state.open.pop_back();
        if (branches.exclusive) exclude(branches, state);
        for (size_t i = 0; i < branches.branches.size(); ++i) {
            if (++expanded_ > kMaxChoices) {
                document_.refuse(branches.owner, branches.exclusive ? "oneOf" : "anyOf",
                                 "leads to too many combinations of branches");
            }
            State with = state;
            bool possible = true;
            for (const SchemaId part : parts_of(branches, i)) {
                std::vector<SchemaId> path = branches.ancestors;
                possible = possible && collect(part, path, with);
            }
            if (possible) expand(std::move(with));
        }
    }

    // The branch, and what it must be besides.
    std::vector<SchemaId> parts_of(const Branches& branches, size_t branch) const {
        std::vector<SchemaId> parts{branches.branches[branch]};
        const auto more = narrowings_.find({branches.owner, branch});
        if (branches.exclusive && more != narrowings_.end()) {
            parts.insert(parts.end(), more->second.begin(), more->second.end());
        }
        return parts;
    }

    void exclude(const Branches& branches, const State& state) {
        for (size_t second = 1; second < branches.branches.size(); ++second) {
            for (size_t first = 0; first < second; ++first) {
                Requirements both;
                for (const size_t branch : {first, second}) {
                    for (const SchemaId part : parts_of(branches, branch)) both.push_back({part, false});
                }
                for (const SchemaId plain : state.plain) both.push_back({plain, true});
                result_.exclusions.push_back({branches.owner, first, second, simplified(document_, std::move(both))});
            }
        }
    }

    SchemaDocument& document_;
    const Narrowings& narrowings_;
    Alternatives result_;
    size_t expanded_ = 0;
};

}  // namespace

Alternatives resolve_alternatives(SchemaDocument& document, const Requirements& requirements,
                                  const Narrowings& narrowings) {
    return Resolver(document, narrowings).run(requirements);
}

Requirements simplified(const SchemaDocument& document, Requirements requirements) {
    std::erase_if(requirements, [&](const Requirement& requirement) {
        const Json& schema = document.schema(requirement.schema);
        if (schema.is_boolean()) return schema.get<bool>();
        if (uses(schema, KeywordUse::kServedAsRule)) return false;
        return requirement.plain || (!uses(schema, KeywordUse::kServed) && !uses(schema, KeywordUse::kRefused));
    });
    std::ranges::sort(requirements);
    requirements.erase(std::unique(requirements.begin(), requirements.end()), requirements.end());
    return requirements;
}

}  // namespace sluice::grammar
