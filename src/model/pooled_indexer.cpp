#include "model/pooled_indexer.h"

#include <algorithm>

namespace sluice {

PooledIndexer::PooledIndexer(const IndexerConfig& config, const Context& context, Trunk& trunk)
    : config_(config),
      context_(context),
      query_key_(trunk.weight(context.layer, Role::kIndexQueryKey)),
      query_norm_(trunk.vector(context.layer, Role::kIndexQueryNorm)),
      key_norm_(trunk.vector(context.layer, Role::kIndexKeyNorm)),
      alike_(trunk.upload(std::vector<float>(static_cast<size_t>(config.pool * config.head_dim)), config.head_dim)) {}

std::vector<StatePart> PooledIndexer::state_parts(const IndexerConfig& config, KvFormat format) {
    return {StatePart::cache("index", format, kv_row_bytes(format, config.head_dim), config.pool),
            StatePart::fixed("open_pool", config.pool, config.head_dim)};
}

uint64_t PooledIndexer::context_scratch_bytes(int64_t tokens, uint64_t bytes) const {
    const int64_t scores = tokens / config_.pool * static_cast<int64_t>(sizeof(float));
    const int64_t gathered = static_cast<int64_t>(bytes) * std::min(tokens, config_.most_seen());
    return static_cast<uint64_t>(std::max(scores, std::min(tokens * scores, kSelectionScoreBytes)) +
                                 std::max(gathered, std::min(tokens * gathered, kSelectionGatherBytes)));
}

PooledIndexer::Scratch PooledIndexer::take(int64_t rows, Workspace& workspace) const {
    return {.projected = workspace.take(rows, (config_.heads + 1) * config_.head_dim),
            .pooled = workspace.take(rows, config_.head_dim)};
}

void PooledIndexer::place(Backend& backend, const Tensor& x, const Tensor& norm, const Tensor& positions) const {
    backend.run(RmsNorm{.x = x, .weight = norm, .epsilon = context_.epsilon, .out = x});
    backend.run(
        Rotary{.x = x, .positions = positions, .frequencies = context_.frequencies, .head_dim = config_.head_dim});
}

// Rounded activations would change which tokens are seen, so nothing is.
Tensor PooledIndexer::run(Backend& backend, const Batch& batch, const Tensor& x, Workspace& workspace) const {
    const Scratch s = take(batch.rows, workspace);
    const int64_t width = config_.heads * config_.head_dim;
    const Tensor query = s.projected.columns_at(0, width), key = s.projected.columns_at(width, config_.head_dim);
    const PagedCache cache = batch.cache(context_.layer, context_.first_part + kKeys);
    const Tensor selected = batch.selected.columns_at(0, config_.most_seen());
    backend.run(Linear{.x = x, .weight = query_key_, .out = s.projected, .full_precision = true});
    place(backend, query, query_norm_, batch.positions);
    backend.run(PoolTokens{.values = key,
                           .offsets = alike_,
                           .sequences = batch.table,
                           .states = batch.states(context_.layer, context_.first_part + kOpenPool),
                           .out = s.pooled});
    place(backend, s.pooled, key_norm_, batch.run_starts.at(config_.pool));
    backend.run(AppendRows{.rows = s.pooled, .ratio = config_.pool, .sequences = batch.table, .cache = cache});
    backend.run(SelectTokens{.query = query,
                             .heads = config_.heads,
                             .ratio = config_.pool,
                             .sequences = batch.table,
                             .cache = cache,
                             .out = selected});
    return selected;
}

}  // namespace sluice
