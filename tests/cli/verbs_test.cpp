#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <string>

#include "cli/flag.h"
#include "cli/table.h"
#include "cli/verb.h"
#include "tests/support/source_file.h"

namespace sluice::cli {
namespace {

TEST(Verbs, AreDistinctAndEachHasExamples) {
    std::set<std::string_view> names;
    for (const Verb& verb : verbs()) {
        EXPECT_TRUE(names.insert(verb.name).second) << verb.name;
        EXPECT_NE(verb.examples.find("sluice " + std::string(verb.name)), std::string_view::npos) << verb.name;
    }
}

const Flag* find(const FlagList& flags, const std::string& name) {
    for (const Flag& flag : flags) {
        if (flag.names == name || flag.names.rfind(name + ",", 0) == 0) return &flag;
    }
    return nullptr;
}

TEST(Flags, OfARunFollowTheTable) {
    for (Command (*declare)() : {declare_generate, declare_chat, declare_bench, declare_logits}) {
        const Command command = declare();
        for (const Option<EngineOptions>& option : kEngineOptions) {
            const Flag* const flag = find(command.flags, flag_name(option));
            if (flag == nullptr) {
                EXPECT_FALSE(option.of_every_verb) << option.name;
                continue;
            }
            EXPECT_EQ(flag->help.rfind(option.help, 0), 0u) << flag->help;
            EXPECT_NE(flag->help.find(choices_text(option)), std::string::npos) << flag->help;
        }
    }
}

TEST(Flags, EveryChoiceIsTakenAndGivenBack) {
    for (const Option<EngineOptions>& option : kEngineOptions) {
        const auto* choice = std::get_if<Choice<EngineOptions>>(&option.field);
        if (choice == nullptr) continue;
        for (const ChoiceName& name : choice->names) {
            EngineOptions options;
            EXPECT_EQ(assign(option, options, name.name), "") << option.name;
            const std::string given_back = value_text(option, options);
            if (name.listed) {
                EXPECT_EQ(given_back, name.name) << option.name;
            }
            EngineOptions again;
            EXPECT_EQ(assign(option, again, given_back), "") << given_back;
        }
        EngineOptions options;
        EXPECT_EQ(assign(option, options, "zzz"), "\"zzz\" is none of " + choices_text(option));
    }
}

TEST(Flags, NumbersOutsideTheirRangeAreRefusedAndChangeNothing) {
    for (const Option<EngineOptions>& option : kEngineOptions) {
        if (!std::holds_alternative<int64_t EngineOptions::*>(option.field) &&
            !std::holds_alternative<uint64_t EngineOptions::*>(option.field))
            continue;
        EngineOptions options;
        const std::string before = value_text(option, options);
        for (const char* wrong : {"0", "-1", "9223372036854775807", "1.5", "many", "", "7x", "nan"}) {
            EXPECT_NE(assign(option, options, wrong), "") << option.name << ' ' << wrong;
            EXPECT_EQ(value_text(option, options), before) << option.name << ' ' << wrong;
        }
        EXPECT_EQ(assign(option, options, "7"), "");
        EXPECT_EQ(value_text(option, options), "7");
    }
}

TEST(Flags, OfTheReadmeExist) {
    std::set<std::string> known = {"--help",   "--version", "--preset", "--build", "--test-dir",
                                   "--prefix", "--install", "--cflags", "--libs"};
    for (const Verb& verb : verbs()) {
        for (const Flag& flag : verb.declare().flags) known.insert(flag.names.substr(0, flag.names.find(',')));
    }
    std::ifstream in(sluice::testing::source_file("/README.md"));
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    constexpr const char* kLetters = "abcdefghijklmnopqrstuvwxyz";
    size_t found = 0;
    for (size_t at = text.find("--"); at != std::string::npos; at = text.find("--", at + 2)) {
        const std::string flag = text.substr(at, text.find_first_not_of(std::string(kLetters) + "-", at) - at);
        if (flag.find_first_of(kLetters) != 2 || flag.size() < 4) continue;
        ++found;
        EXPECT_TRUE(known.contains(flag)) << flag;
    }
    EXPECT_GT(found, 10u);
}

TEST(WithFlags, NamesFlagsForFields) {
    EXPECT_EQ(with_flags("`ram_bytes` 90M would do"), "--ram 90M would do");
    EXPECT_EQ(with_flags("give a smaller `prefix_memory_bytes` or a larger `ram_bytes`"),
              "give a smaller --prefix-memory or a larger --ram");
    EXPECT_EQ(with_flags("`ulimit -l 8` would do, or `context`"), "`ulimit -l 8` would do, or --context");
    EXPECT_EQ(with_flags("`sluice inspect` and a lone ` and `look_ahead`"),
              "`sluice inspect` and a lone ` and --look-ahead");
    EXPECT_EQ(with_flags(""), "");
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
