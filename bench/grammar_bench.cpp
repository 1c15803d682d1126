// What constrained output costs: compiling a schema, and the masks of a text that is drawn under it.
//
//   grammar_bench TOKENIZER [SCHEMAS.json]    a list of {"name", "schema"}; without it a few of the kinds in use

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "sluice/error.h"
#include "sluice/grammar.h"

namespace {

using Json = nlohmann::ordered_json;

// Of this thread's work, so that what else the machine does counts for nothing.
double milliseconds() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return 1e3 * static_cast<double>(now.tv_sec) + 1e-6 * static_cast<double>(now.tv_nsec);
}

constexpr const char* kSchemas = R"([
  {"name": "any object", "schema": {"type": "object"}},
  {"name": "person", "schema": {"type": "object", "properties": {
     "name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120},
     "email": {"type": "string", "format": "email"}, "tags": {"type": "array", "items": {"type": "string"}}},
     "required": ["name", "age", "email", "tags"], "additionalProperties": false}},
  {"name": "long string", "schema": {"type": "object", "properties": {
     "text": {"type": "string", "minLength": 200, "maxLength": 10000}}, "required": ["text"]}},
  {"name": "pattern", "schema": {"type": "array", "items": {"type": "string", "pattern": "^[a-z]+(-[a-z0-9]+)*$",
     "maxLength": 64}, "minItems": 4, "maxItems": 8}},
  {"name": "tree", "schema": {"$defs": {"node": {"type": "object", "properties": {"v": {"type": "integer"},
     "kids": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}}, "required": ["v", "kids"],
     "additionalProperties": false}}, "$ref": "#/$defs/node"}}
])";

struct Times {
    double compile = 0;
    std::vector<double> masks = {};
    std::string error = {};
};

// Follows the schema with random tokens, as many as `tokens`; documents that end are begun anew.
Times measure(const sluice::GrammarCompiler& compiler, size_t vocabulary, const std::string& schema, size_t tokens) {
    Times times;
    const auto begin = milliseconds();
    std::shared_ptr<const sluice::Grammar> grammar;
    try {
        grammar = compiler.json_schema(schema);
    } catch (const sluice::Error& error) {
        times.error = error.what();
        return times;
    }
    times.compile = milliseconds() - begin;
    std::mt19937_64 random(1);
    sluice::GrammarState state(grammar);
    sluice::TokenMask mask(vocabulary);
    std::vector<sluice::TokenId> allowed;
    for (size_t i = 0; i < tokens; ++i) {
        if (state.is_finished()) state = sluice::GrammarState(grammar);
        mask.allow_none();
        const auto start = milliseconds();
        state.allow(mask);
        times.masks.push_back(milliseconds() - start);
        allowed.clear();
        for (size_t word = 0; word < mask.words().size(); ++word) {
            for (uint64_t bits = mask.words()[word]; bits != 0; bits &= bits - 1) {
                allowed.push_back(static_cast<sluice::TokenId>(word * 64 + std::countr_zero(bits)));
            }
        }
        if (!state.accept(allowed[random() % allowed.size()])) std::abort();
    }
    return times;
}

}  // namespace

int main(int count, char** arguments) {
    if (count < 2) {
        std::fprintf(stderr, "usage: grammar_bench TOKENIZER [SCHEMAS.json]\n");
        return 2;
    }
    try {
        const auto begin = milliseconds();
        const sluice::Tokenizer tokenizer = sluice::Tokenizer::open(arguments[1]);
        std::printf("tokenizer of %zu tokens: %.0f ms\n", tokenizer.vocabulary_size(), milliseconds() - begin);
        const auto prepare = milliseconds();
        const sluice::GrammarCompiler compiler(tokenizer, {});
        std::printf("compiler: %.0f ms\n", milliseconds() - prepare);
        Json schemas = Json::parse(kSchemas);
        if (count > 2) {
            std::ifstream in(arguments[2]);
            schemas = Json::parse(in);
        }
        std::printf("%-32s %10s %12s %12s %12s %12s\n", "", "compile ms", "mean mask us", "median us", "99 %  us",
                    "worst us");
        double worst_compile = 0, sum = 0;
        size_t masks = 0;
        for (const Json& schema : schemas) {
            Times times = measure(compiler, tokenizer.vocabulary_size(), schema["schema"].dump(), 400);
            const std::string name = schema["name"].get<std::string>();
            if (!times.error.empty()) {
                std::printf("%-32s refused: %s\n", name.c_str(), times.error.c_str());
                continue;
            }
            std::ranges::sort(times.masks);
            double total = 0;
            for (const double mask : times.masks) total += mask;
            const size_t size = times.masks.size();
            std::printf("%-32s %10.2f %12.1f %12.1f %12.1f %12.1f\n", name.c_str(), times.compile,
                        1000 * total / static_cast<double>(size), 1000 * times.masks[size / 2],
                        1000 * times.masks[size * 99 / 100], 1000 * times.masks.back());
            worst_compile = std::max(worst_compile, times.compile);
            sum += total;
            masks += size;
        }
        std::printf("all: worst compile %.2f ms, mean mask %.1f us\n", worst_compile,
                    1000 * sum / static_cast<double>(masks));
    } catch (const std::exception& error) {
        std::fprintf(stderr, "grammar_bench: %s\n", error.what());
        return 1;
    }
    return 0;
}
