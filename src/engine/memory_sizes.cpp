#include <algorithm>
#include <utility>

#include "base/memory.h"
#include "base/processors.h"
#include "checkpoint/row_table_source.h"
#include "engine/cluster/expert_messages.h"
#include "engine/memory_ledger.h"
#include "engine/pass_plan.h"
#include "experts/expert_store.h"
#include "experts/row_table.h"
#include "model/head_bytes.h"

namespace sluice {

namespace {

// Beyond the ledger: the program's own pages and its libraries' (about 10 MB are touched), allocator slack, read
// buffers, page tables.
constexpr uint64_t kSlackBytes = 36ull << 20;
// What operations take on a card for themselves.
constexpr uint64_t kOperationBytes = 512ull << 20;
// What a card wants held in place of the host's memory beside expert slots: where records land, downloads.
constexpr uint64_t kPinnedBytes = 320ull << 20;
// A card is busy with no less, and reads an expert's weights once for it.
constexpr int64_t kChunkOnCard = 8192;
// What an entry of a vocabulary takes in a tokenizer that is not read yet.
constexpr uint64_t kTokenizerBytesPerEntry = 200;

uint64_t unsigned_of(int64_t value) {
    return static_cast<uint64_t>(std::max<int64_t>(value, 0));
}

// Numbers of the KV cache of a token of all layers, by its bytes in BF16.
uint64_t kv_bytes(const ModelReport& report, const EngineOptions& options) {
    const uint64_t numbers = report.kv_bytes_per_token / 2;
    const KvFormat format = options.kv_format.value_or(options.exact ? KvFormat::kF32 : KvFormat::kBF16);
    if (format == KvFormat::kF32) return numbers * sizeof(float);
    if (format == KvFormat::kBF16) return report.kv_bytes_per_token;
    const uint64_t row = std::max<uint64_t>(unsigned_of(report.head_dim), 1);
    return numbers + (numbers + row - 1) / row * sizeof(float);
}

// The widest numbers that a token takes beside the residual: of its mixer, or of its experts.
uint64_t widest(const ModelReport& report) {
    const uint64_t hidden = unsigned_of(report.hidden_size);
    const uint64_t heads = unsigned_of(report.heads) * unsigned_of(report.head_dim);
    const uint64_t experts = unsigned_of(report.experts_per_token) * (hidden + 4) + unsigned_of(report.experts) +
                             (report.shared_intermediate > 0 ? hidden + 1 : 0);
    uint64_t mixer = 2 * heads + 2 * unsigned_of(report.kv_heads) * unsigned_of(report.head_dim);
    if (report.linear_attention_layers > 0) {
        // Gated attention beside gated delta nets of about nine times the hidden size, in and out.
        mixer = std::max(5 * heads + mixer - 2 * heads, 18 * hidden);
    }
    if (report.latent_attention_layers > 0) {
        const uint64_t latent = report.kv_bytes_per_token / 2 / static_cast<uint64_t>(report.latent_attention_layers);
        mixer = 2 * heads + 2 * unsigned_of(report.heads) * latent + 2 * hidden;
    }
    return std::max(experts, mixer);
}

// Of every thread, for a prompt's attention over the whole context: the keys and values of a head.
uint64_t expanded_bytes(const ModelReport& report, uint64_t threads, int64_t context) {
    if (report.latent_attention_layers == 0) return 0;
    const uint64_t latent = report.kv_bytes_per_token / 2 / static_cast<uint64_t>(report.latent_attention_layers);
    const uint64_t head = 2 * unsigned_of(report.head_dim);
    return unsigned_of(context) * sizeof(float) * (latent + std::min(threads, unsigned_of(report.heads)) * head);
}

// What n-gram tables take of memory.
uint64_t row_table_bytes(const Checkpoint& checkpoint) {
    uint64_t bytes = 0;
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        if (!checkpoint.config().layers[static_cast<size_t>(layer)].ngrams.any()) continue;
        bytes += RowTable::memory_bytes(checkpoint.row_table(layer).bytes());
    }
    return bytes;
}

// Rows of the hidden size that a token takes through all layers: the residual, what is normed, and beside several
// streams what a block reads of them and computes.
uint64_t residual_rows(const ModelReport& report) {
    return unsigned_of(report.residual_streams) + (report.residual_streams > 1 ? 3 : 1);
}

uint64_t arrangement_bytes(const Checkpoint& checkpoint) {
    uint64_t most = 0;
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        if (checkpoint.config().mixture_of(layer) == nullptr) continue;
        most = std::max(most, checkpoint.arrangement_scratch(layer).value_or(0));
    }
    return most;
}

MemorySizes moved_to_card(MemorySizes sizes) {
    sizes.on_card = true;
    sizes.largest_chunk = kChunkOnCard;
    sizes.beside_card = std::exchange(sizes.process, kOperationBytes) + kPinnedBytes;
    return sizes;
}

}  // namespace

MemorySizes memory_sizes(const Checkpoint& checkpoint, const Model& model, const Backend& backend) {
    const size_t threads = backend.threads();
    // What was arranged when the model was put together is memory of the process by now.
    MemorySizes sizes{
        .trunk = checkpoint.trunk_bytes() - checkpoint.arranged_bytes(),
        .experts_floor = ExpertStore::floor_bytes(checkpoint),
        .experts_all = ExpertStore::full_bytes(checkpoint),
        .process = private_resident_bytes() + kSlackBytes + arrangement_bytes(checkpoint) + row_table_bytes(checkpoint),
        .largest_context = checkpoint.config().max_positions,
        .scratch = [&model, threads](int64_t chunk, int64_t context) {
            return model.scratch_bytes(pass_rows(chunk)) + model.context_scratch_bytes(context, threads);
        }};
    for (const std::vector<StatePart>& layer : model.state_parts()) {
        for (const StatePart& part : layer) {
            sizes.recurrent += part.fixed_bytes();
        }
    }
    sizes.kv_per_token = cache_bytes_per_token(model.state_parts());
    return backend.own_memory_bytes() ? moved_to_card(std::move(sizes)) : sizes;
}

MemorySizes worker_memory_sizes(const Checkpoint& checkpoint, int64_t pass_rows) {
    const uint64_t messages = message_sizes(checkpoint.config(), pass_rows).memory_bytes();
    return {.experts_floor = ExpertStore::floor_bytes(checkpoint),
            .experts_all = ExpertStore::full_bytes(checkpoint),
            .process = private_resident_bytes() + kSlackBytes + arrangement_bytes(checkpoint),
            .largest_context = checkpoint.config().max_positions,
            .scratch = [messages](int64_t, int64_t) { return messages; }};
}

void add_messages(MemorySizes& sizes, const ModelConfig& config) {
    sizes.scratch = [alone = std::move(sizes.scratch), &config](int64_t chunk, int64_t context) {
        return alone(chunk, context) + message_sizes(config, pass_rows(chunk)).memory_bytes();
    };
}

MemorySizes memory_sizes(const ModelReport& report, const EngineOptions& options, bool card) {
    const uint64_t threads = options.threads != 0 ? options.threads : available_cores();
    const uint64_t vocabulary = unsigned_of(report.vocabulary), hidden = unsigned_of(report.hidden_size);
    const auto scratch = [=](int64_t chunk, int64_t context) {
        const uint64_t rows = unsigned_of(pass_rows(chunk));
        const uint64_t logits =
            std::min<uint64_t>(rows * vocabulary * sizeof(float), static_cast<uint64_t>(head_bytes(card)));
        const uint64_t blocks = rows * widest(report) * sizeof(float);
        return std::max(logits, blocks) + residual_rows(report) * rows * hidden * sizeof(float) +
               expanded_bytes(report, threads, context);
    };
    MemorySizes sizes{
        .trunk = report.trunk_bytes,
        .kv_per_token = kv_bytes(report, options),
        .recurrent = report.state_bytes_per_sequence,
        .experts_floor = unsigned_of(report.experts_per_token) * round_up(report.bytes_per_expert, kPageBytes),
        .experts_all = report.expert_bytes,
        .process = private_resident_bytes() + kSlackBytes + vocabulary * kTokenizerBytesPerEntry +
                   report.arrangement_bytes + RowTable::memory_bytes(report.row_table_bytes),
        .largest_context = report.max_positions,
        .scratch = scratch};
    return card ? moved_to_card(std::move(sizes)) : sizes;
}

}  // namespace sluice
