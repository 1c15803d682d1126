// What a token costs whose n-gram rows lie on a drive: row_table_bench MODEL [TOKENS [THREADS]]. The same tokens are
// evaluated with the table in memory and with every row read past the page cache, in turns, by one model whose experts
// are all in memory. Prints what a token takes, and fails where the logits differ.

#include <fmt/core.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <random>

#include "backend/cpu/cpu_backend.h"
#include "base/clock.h"
#include "model/model.h"

namespace sluice {
namespace {

constexpr int32_t kPromptTokens = 64, kPrompts = 4;  // of a stretch in which experts are taken

// Files that were read as a whole before; every request is answered where it is made.
class MemoryReader final : public Reader {
  public:
    MemoryReader(const RowTableFiles& files, Completed completed) : completed_(std::move(completed)) {
        for (const WeightSource& part : files.source.parts) {
            for (const ByteRange& range : {part.data, part.scales, part.zero_points}) keep(files, range);
        }
    }

    void submit(std::span<const ReadRequest> requests) override {
        for (const ReadRequest& request : requests) {
            const Kept& kept = *std::ranges::find_if(kept_, [&](const Kept& k) { return holds(k.range, request); });
            std::memcpy(request.destination, kept.bytes.data() + (request.offset - kept.range.offset), request.bytes);
            completed_({.tag = request.tag, .transferred = request.bytes});
        }
    }
    void cancel(uint64_t) override {}
    std::string name() const override { return "memory"; }
    bool direct() const override { return false; }

  private:
    struct Kept {
        ByteRange range;
        std::vector<std::byte> bytes;
    };

    static bool holds(const ByteRange& range, const ReadRequest& request) {
        return range.file == request.file && range.offset <= request.offset &&
               request.offset + request.bytes <= range.offset + range.bytes;
    }
    void keep(const RowTableFiles& files, const ByteRange& range) {
        if (range.bytes == 0) return;
        Kept& kept = kept_.emplace_back(range, std::vector<std::byte>(range.bytes));
        File::open(files.paths[range.file]).read_at(range.offset, kept.bytes);
    }

    Completed completed_;
    std::vector<Kept> kept_;
};

// One way to have the tables, with a sequence of its own.
struct Way {
    const char* name;
    RowTables tables = {};
    std::unique_ptr<SequenceState> state = {};
    std::vector<double> seconds = {};

    ExpertCounters counters() const {
        ExpertCounters sum;
        for (const auto& [layer, table] : tables) sum = sum + table->counters();
        return sum;
    }
};

double median(std::vector<double> values) {
    std::ranges::nth_element(values, values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2));
    return values[values.size() / 2];
}

class Bench {
  public:
    Bench(const char* folder, size_t threads)
        : backend_(make_cpu_backend({.threads = threads})),
          checkpoint_(Checkpoint::open(folder)),
          model_(checkpoint_, *backend_, KvFormat::kBF16),
          experts_(checkpoint_, {.cache_bytes = ExpertStore::full_bytes(*checkpoint_)},
                   [this](size_t slots, size_t bytes) { return backend_->make_slots(slots, bytes); }) {
        model_.use_experts(experts_, nullptr);
        for (int layer = 0; layer < static_cast<int>(checkpoint_->config().layers.size()); ++layer) {
            if (!checkpoint_->config().layers[static_cast<size_t>(layer)].ngrams.any()) continue;
            const RowTableFiles files = RowTableFiles::of(*checkpoint_, layer);
            ways_[0].tables[layer] =
                std::make_unique<RowTable>(files, RowTableOptions{}, [&](Reader::Completed completed) {
                    return std::make_unique<MemoryReader>(files, std::move(completed));
                });
            ways_[1].tables[layer] = std::make_unique<RowTable>(files, RowTableOptions{.direct_io = When::kOn});
        }
    }

    // Experts are there when a stretch of tokens asked for none that was not.
    void take_experts() {
        for (uint64_t before = 0, after = 1; before != after; after = experts_.counters().misses) {
            before = after;
            Way& way = ways_[0];
            way.state = model_.new_state();
            for (int i = 0; i < kPrompts; ++i) evaluate(way, random_ids(kPromptTokens));
        }
    }

    bool run(int tokens) {
        for (Way& way : ways_) way.state = model_.new_state();
        const std::vector<int32_t> prompt = random_ids(kPromptTokens);
        for (Way& way : ways_) evaluate(way, prompt);
        const ExpertCounters begin[] = {ways_[0].counters(), ways_[1].counters()};
        const uint64_t misses = experts_.counters().misses;
        bool same = true;
        for (int token = 0; token < tokens; ++token) {
            const std::vector<int32_t> id = random_ids(1);
            std::vector<float> logits[2];
            for (const int turn : {0, 1}) {
                const int which = (turn + token) % 2;
                const Stopwatch watch;
                logits[which] = evaluate(ways_[which], id);
                ways_[which].seconds.push_back(watch.seconds());
            }
            same = same && logits[0] == logits[1];
        }
        for (const int which : {0, 1}) print(ways_[which], ways_[which].counters() - begin[which], tokens);
        fmt::print(
            "drive / memory: {:.4f} by medians, {:.4f} by sums; experts that were not in memory: {}; logits {}\n",
            median(ways_[1].seconds) / median(ways_[0].seconds), sum(ways_[1]) / sum(ways_[0]),
            experts_.counters().misses - misses, same ? "the same" : "DIFFER");
        return same;
    }

  private:
    std::vector<int32_t> random_ids(int count) {
        std::uniform_int_distribution<int32_t> any(0, static_cast<int32_t>(checkpoint_->config().vocabulary) - 1);
        std::vector<int32_t> ids;
        for (int i = 0; i < count; ++i) ids.push_back(any(random_));
        return ids;
    }
    std::vector<float> evaluate(Way& way, const std::vector<int32_t>& ids) {
        model_.use_row_tables(way.tables);
        const ForwardInput input{
            .state = way.state.get(), .ids = ids, .logit_rows = {static_cast<int32_t>(ids.size()) - 1}};
        ForwardOutput output = std::move(model_.forward({&input, 1}).front());
        if (output.error) std::rethrow_exception(output.error);
        return std::move(output.logits);
    }
    static double sum(const Way& way) {
        double sum = 0;
        for (const double seconds : way.seconds) sum += seconds;
        return sum;
    }
    static void print(const Way& way, const ExpertCounters& spent, int tokens) {
        fmt::print(
            "table in {:6}: {:.3f} ms a token ({:.3f} in the middle), {:.3f} ms of it waited for rows; {:.1f} "
            "rows and {:.1f} KB read a token\n",
            way.name, 1e3 * sum(way) / tokens, 1e3 * median(way.seconds), 1e3 * spent.stall_seconds / tokens,
            static_cast<double>(spent.row_reads) / tokens, static_cast<double>(spent.row_bytes) / 1e3 / tokens);
    }

    std::mt19937 random_{7};
    std::unique_ptr<Backend> backend_;
    std::shared_ptr<const Checkpoint> checkpoint_;
    Model model_;
    ExpertStore experts_;
    Way ways_[2] = {{.name = "memory"}, {.name = "drive"}};
};

}  // namespace
}  // namespace sluice

int main(int count, char** arguments) {
    if (count < 2) {
        fmt::print(stderr, "usage: row_table_bench MODEL [TOKENS [THREADS]]\n");
        return 2;
    }
    try {
        sluice::Bench bench(arguments[1], count > 3 ? std::strtoul(arguments[3], nullptr, 10) : 0);
        bench.take_experts();
        return bench.run(count > 2 ? std::atoi(arguments[2]) : 200) ? 0 : 1;
    } catch (const std::exception& error) {
        fmt::print(stderr, "error: {}\n", error.what());
        return 1;
    }
}
