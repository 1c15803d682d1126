#include "model/token_indexer.h"

namespace sluice {

namespace {

// Of the norm of its keys, whatever the config's is.
constexpr float kKeyNormEpsilon = 1e-6f;

}  // namespace

TokenIndexer::TokenIndexer(const IndexerConfig& config, int layer, const Rotation& rotation, Trunk& trunk)
    : config_(config),
      rotation_(rotation),
      query_(trunk.weight(layer, Role::kIndexQuery)),
      key_(trunk.weight(layer, Role::kIndexKey)),
      weights_(trunk.weight(layer, Role::kIndexWeights)),
      key_norm_(trunk.vector(layer, Role::kIndexKeyNorm)),
      key_norm_bias_(trunk.vector(layer, Role::kIndexKeyNormBias)) {}

StatePart TokenIndexer::state_part(const IndexerConfig& config, KvFormat format) {
    return StatePart::cache("index", format, kv_row_bytes(format, config.head_dim));
}

TokenIndexer::Scratch TokenIndexer::take(int64_t rows, Workspace& workspace) const {
    return {.query = workspace.take(rows, config_.heads * config_.head_dim),
            .key = workspace.take(rows, config_.head_dim),
            .weights = workspace.take(rows, config_.heads)};
}

// Rounded activations would change which tokens are seen, so nothing is.
void TokenIndexer::run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& query_latent,
                       const PagedCache& cache, Workspace& workspace) const {
    const Scratch s = take(batch.rows, workspace);
    backend.run(Linear{.x = query_latent, .weight = query_, .out = s.query, .full_precision = true});
    backend.run(Linear{.x = x, .weight = key_, .out = s.key, .full_precision = true});
    backend.run(Linear{.x = x, .weight = weights_, .out = s.weights, .full_precision = true});
    backend.run(
        LayerNorm{.x = s.key, .weight = key_norm_, .bias = key_norm_bias_, .epsilon = kKeyNormEpsilon, .out = s.key});
    rotate(backend, batch, s.query);
    rotate(backend, batch, s.key);
    backend.run(AppendRows{.rows = s.key, .sequences = batch.table, .cache = cache});
    backend.run(SelectTokens{.query = s.query,
                             .weights = s.weights,
                             .sequences = batch.table,
                             .cache = cache,
                             .out = batch.selected.columns_at(0, config_.tokens)});
}

// The first dims of every head.
void TokenIndexer::rotate(Backend& backend, const Batch& batch, const Tensor& x) const {
    backend.run(Rotary{.x = x,
                       .positions = batch.positions,
                       .frequencies = rotation_.frequencies,
                       .head_dim = config_.head_dim,
                       .interleaved = config_.interleaved,
                       .magnitude = rotation_.magnitude});
}

}  // namespace sluice
