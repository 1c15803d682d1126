// Drawing a token from the logits of a large vocabulary.

#include <fmt/core.h>

#include "bench/kernel_bench/cases.h"
#include "bench/random_data.h"
#include "tests/backend/step_tables.h"

namespace sluice::bench {

namespace {

constexpr int64_t kVocabulary = 248320;

struct NamedSettings {
    const char* name;
    DrawSettings settings;
};
constexpr NamedSettings kWays[] = {{"T 0.6, top-k 20, top-p 0.95", {.temperature = 0.6, .top_p = 0.95, .top_k = 20}},
                                   {"T 1", {.temperature = 1, .top_k = 0}},
                                   {"T 1, top-p 0.95", {.temperature = 1, .top_p = 0.95, .top_k = 0}}};

}  // namespace

void drawing_cases(Backend& backend, const Shapes&, const AddCase& add) {
    for (const int64_t rows : {1, 16}) {
        for (const NamedSettings& way : kWays) {
            std::vector<int32_t> settings;
            for (int64_t row = 0; row < rows; ++row) {
                DrawSettings own = way.settings;
                own.uniform = (static_cast<double>(row) + 0.37) / static_cast<double>(rows);
                append_row(settings, own);
            }
            const DrawToken op{.x = random_tensor(backend, rows, kVocabulary),
                               .settings = int_table(backend, settings, kDrawColumns),
                               .out = make_tensor(backend.allocate(static_cast<uint64_t>(rows) * sizeof(int32_t)),
                                                  DType::kI32, rows, 1)};
            add({.group = "drawing",
                 .name = fmt::format("{} of {}, {} rows", way.name, kVocabulary, rows),
                 .bytes = static_cast<double>(rows * kVocabulary) * sizeof(float),
                 .launch = [&backend, op] { backend.run(op); }});
        }
    }
}

}  // namespace sluice::bench
