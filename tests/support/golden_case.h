#pragma once

// Tiny checkpoints with logits and hidden states recorded by transformers: those in the tree, and all of ../shared.

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"
#include "tests/support/source_file.h"

namespace sluice::testing {

struct GoldenCase {
    std::filesystem::path folder;
    std::string name() const { return folder.filename().string(); }
};

// Every case once; the tree's own where both have it.
inline std::vector<GoldenCase> golden_cases() {
    std::vector<GoldenCase> cases;
    std::vector<std::string> seen;
    for (const std::string& root :
         {sluice::testing::source_file("/tests/data/goldens"), sluice::testing::source_file("/../shared/goldens")}) {
        if (!std::filesystem::exists(root)) continue;
        for (const auto& entry : std::filesystem::directory_iterator(root)) {
            const std::string name = entry.path().filename().string();
            if (!std::filesystem::exists(entry.path() / "reference.safetensors")) continue;
            if (std::find(seen.begin(), seen.end(), name) != seen.end()) continue;
            seen.push_back(name);
            cases.push_back({entry.path()});
        }
    }
    std::sort(cases.begin(), cases.end(), [](const auto& a, const auto& b) { return a.name() < b.name(); });
    return cases;
}

inline std::string golden_test_name(const ::testing::TestParamInfo<GoldenCase>& info) {
    std::string name = info.param.name();
    std::replace_if(
        name.begin(), name.end(), [](unsigned char c) { return std::isalnum(c) == 0; }, '_');
    return name;
}

struct Reference {
    std::vector<int32_t> ids;
    std::vector<float> logits;  // [tokens, vocabulary]
    // [layers + 1] of [tokens, hidden]; of two goldens only the first and the last were kept, the others are empty.
    std::vector<std::vector<float>> hidden;
    std::vector<int32_t> greedy_ids;
    std::vector<float> greedy_margin;
};

inline Reference load_reference(const GoldenCase& golden) {
    const auto file = SafetensorsReader::open(golden.folder / "reference.safetensors");
    Reference reference;
    for (const int64_t id : file.integers("input_ids")) reference.ids.push_back(static_cast<int32_t>(id));
    for (const int64_t id : file.integers("greedy_ids")) reference.greedy_ids.push_back(static_cast<int32_t>(id));
    reference.greedy_margin = file.floats("greedy_margin");
    reference.logits = file.floats("logits");
    constexpr size_t kMostLayers = 100;
    for (size_t n = 0; n <= kMostLayers; ++n) {
        const std::string name = "hidden." + std::to_string(n);
        if (!file.has(name)) continue;
        reference.hidden.resize(n + 1);
        reference.hidden[n] = file.floats(name);
    }
    return reference;
}

// Largest absolute difference; infinite where the sizes differ or a value is not finite.
inline double largest_difference(const std::vector<float>& a, const std::vector<float>& b) {
    if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
    double worst = 0;
    for (size_t i = 0; i < a.size(); ++i) {
        const double d = std::abs(static_cast<double>(a[i]) - b[i]);
        if (!(d <= worst)) worst = std::isfinite(d) ? d : std::numeric_limits<double>::infinity();
    }
    return worst;
}

}  // namespace sluice::testing
