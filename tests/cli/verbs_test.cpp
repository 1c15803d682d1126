#include <gtest/gtest.h>

#include <set>
#include <string>

#include "cli/table.h"
#include "cli/verb.h"

namespace sluice::cli {
namespace {

TEST(Verbs, AreDistinctAndEachHasExamples) {
    std::set<std::string_view> names;
    for (const Verb& verb : verbs()) {
        EXPECT_TRUE(names.insert(verb.name).second) << verb.name;
        EXPECT_NE(verb.examples.find("sluice " + std::string(verb.name)), std::string_view::npos) << verb.name;
    }
}

TEST(NearestVerb, ForgivesSlips) {
    EXPECT_EQ(nearest_verb("genrate"), "generate");
    EXPECT_EQ(nearest_verb("tok"), "tokenize");
    EXPECT_EQ(nearest_verb("bench_disk"), "bench-disk");
    EXPECT_EQ(nearest_verb("perplexiti"), "perplexity");
}

TEST(NearestVerb, DoesNotGuessWildly) {
    EXPECT_EQ(nearest_verb("xylophone"), "");
    EXPECT_EQ(nearest_verb("q"), "");
}

TEST(Table, AlignsByTheWidestCell) {
    Table table({"name", "value"});
    table.add({"a", "1"});
    table.add({"longer", "12345678"});
    EXPECT_EQ(table.text(), "name       value\na              1\nlonger  12345678\n");
}

}  // namespace
}  // namespace sluice::cli
