#include "model/ngrams.h"

#include <algorithm>

#include "checkpoint/stored_hash.h"

namespace sluice {

namespace {

// Tokens whose rows are decoded before they go to the backend.
constexpr int64_t kTokensAtOnce = 64;

}  // namespace

NGrams::NGrams(const Checkpoint& checkpoint, int layer, size_t first_part, Trunk& trunk)
    : layer_(layer),
      first_part_(first_part),
      hidden_(checkpoint.config().hidden_size),
      channels_(hidden_ * checkpoint.config().streams()),
      row_dim_(checkpoint.config().layers[static_cast<size_t>(layer)].ngrams.row_dim),
      row_bytes_(checkpoint.row_table(layer).row_bytes()),
      epsilon_(static_cast<float>(checkpoint.config().rms_norm_epsilon)),
      hash_(stored_hash(checkpoint, layer)),
      key_(trunk.projection(layer, Role::kNGramKey)),
      value_(trunk.projection(layer, Role::kNGramValue)),
      key_norm_(trunk.vector(layer, Role::kNGramKeyNorm)),
      query_norm_(trunk.vector(layer, Role::kNGramQueryNorm)),
      convolution_norm_(trunk.vector(layer, Role::kNGramConvNorm)),
      convolution_(trunk.table(layer, Role::kNGramConv, channels_)) {}

std::vector<StatePart> NGrams::state_parts() const {
    const int64_t history = (convolution_.columns - 1) * hash_.longest();
    return {StatePart::fixed("ngrams.convolution", history, channels_),
            StatePart::fixed("ngrams.tokens", 1, hash_.longest() - 1)};
}

uint64_t NGrams::fetch_bytes(int64_t rows) const {
    return RowTable::fetch_bytes(row_bytes_, static_cast<uint64_t>(rows * hash_.heads()));
}

NGrams::Scratch NGrams::take(int64_t rows, Workspace& workspace) const {
    return {.embedding = workspace.take(rows, hash_.heads() * row_dim_),
            .keys = workspace.take(rows, channels_),
            .queries = workspace.take(rows, channels_),
            .value = workspace.take(rows, hidden_),
            .gated = workspace.take(rows, channels_)};
}

// Numbers of tokens are exact in F32: there are no more than 2^24.
std::vector<int32_t> NGrams::exchange_tokens(Backend& backend, const Region& state, int64_t position,
                                             std::span<const int32_t> ids) const {
    const auto most = static_cast<size_t>(hash_.longest() - 1);
    std::vector<float> kept(most);
    backend.download(state.buffer, state.offset, std::as_writable_bytes(std::span(kept)));
    backend.wait();
    const size_t known = std::min(most, static_cast<size_t>(position));
    std::vector<int32_t> tokens(kept.end() - static_cast<std::ptrdiff_t>(known), kept.end());
    kept.insert(kept.end(), ids.begin(), ids.end());
    backend.upload(state.buffer, state.offset, std::as_bytes(std::span(kept).last(most)));
    return tokens;
}

RowFetch NGrams::fetch(Backend& backend, const Batch& batch, std::span<const std::span<const int32_t>> ids,
                       RowTable& table) const {
    std::vector<int64_t> rows;
    for (size_t s = 0; s < ids.size(); ++s) {
        const int64_t position = batch.host_positions[static_cast<size_t>(batch.sequences[s].first_row)];
        const Region state =
            batch.pool->slot_region(static_cast<size_t>(layer_), first_part_ + kTokens, batch.host_slots[s]);
        const std::vector<int64_t> mine = hash_.rows(exchange_tokens(backend, state, position, ids[s]), ids[s]);
        rows.insert(rows.end(), mine.begin(), mine.end());
    }
    return table.fetch(rows);
}

// Rows that could not be read stay zeros: nobody looks at what becomes of them.
void NGrams::put_rows(Backend& backend, Batch& batch, RowFetch& fetch, const Tensor& embedding) const {
    fetch.wait();
    const int64_t heads = hash_.heads();
    size_t sequence = 0;
    std::vector<float> values;
    for (int64_t first = 0; first < batch.rows; first += kTokensAtOnce) {
        const int64_t count = std::min(kTokensAtOnce, batch.rows - first);
        values.assign(static_cast<size_t>(count * embedding.columns), 0.0f);
        for (int64_t i = 0; i < count * heads; ++i) {
            const int64_t row = first + i / heads;
            while (row >= batch.sequences[sequence].first_row + batch.sequences[sequence].count) ++sequence;
            const auto index = static_cast<size_t>(first * heads + i);
            if (const std::exception_ptr error = fetch.error(index)) {
                if (!batch.errors[sequence]) batch.errors[sequence] = error;
                continue;
            }
            fetch.decode(index, values.data() + i * row_dim_);
        }
        const Tensor part = embedding.rows_at(first, count);
        backend.upload(part.buffer, part.offset, std::as_bytes(std::span(values)));
    }
}

void NGrams::run(Backend& backend, Batch& batch, RowFetch& fetch, const Tensor& streams, Workspace& workspace) const {
    const Scratch s = take(batch.rows, workspace);
    put_rows(backend, batch, fetch, s.embedding);
    if (batch.all_failed()) return;
    const auto norm = [&](const Tensor& x, const Tensor& weight, const Tensor& out) {
        backend.run(RmsNorm{.x = x, .weight = weight, .width = hidden_, .epsilon = epsilon_, .out = out});
    };
    backend.run(Linear{.x = s.embedding, .weight = key_, .out = s.keys});
    backend.run(Linear{.x = s.embedding, .weight = value_, .out = s.value});
    norm(s.keys, key_norm_, s.keys);
    norm(streams, query_norm_, s.queries);
    backend.run(MatchStreams{.keys = s.keys, .queries = s.queries, .value = s.value, .out = s.gated});
    norm(s.gated, convolution_norm_, s.queries);
    backend.run(CausalConvolution{.x = s.queries,
                                  .weight = convolution_,
                                  .distance = hash_.longest(),
                                  .sequences = batch.table,
                                  .states = batch.states(layer_, first_part_ + kConvolution),
                                  .out = s.keys});
    for (const Tensor* added : {&s.gated, &s.keys}) {
        backend.run(AddGated{.x = *added, .gate = {}, .out = streams});
    }
}

}  // namespace sluice
