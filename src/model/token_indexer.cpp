#include "model/token_indexer.h"

namespace sluice {

namespace {

// Of the norm of its keys, whatever the config's is.
constexpr float kKeyNormEpsilon = 1e-6f;

}  // namespace

TokenIndexer::TokenIndexer(const IndexerConfig& config, int layer, const Rotation& rotation, Trunk& trunk)
    : config_(config),
      layer_(layer),
      rotation_(rotation),
      query_(trunk.weight(layer, Role::kIndexQuery)),
      key_(trunk.weight(layer, Role::kIndexKey)),
      weights_(trunk.weight(layer, Role::kIndexWeights)),
      key_norm_(trunk.vector(layer, Role::kIndexKeyNorm)),
      key_norm_bias_(trunk.vector(layer, Role::kIndexKeyNormBias)) {
    if (config.pool == 1) return;
    pooling_ = Pooling{.gate = trunk.weight(layer, Role::kIndexPoolGate),
                       .offsets = trunk.table(layer, Role::kIndexPoolOffsets, config.pool)};
}

std::vector<StatePart> TokenIndexer::state_parts(const IndexerConfig& config, KvFormat format) {
    const uint64_t key_bytes = kv_row_bytes(format, config.head_dim);
    std::vector<StatePart> parts = {StatePart::cache("index", format, key_bytes, config.pool)};
    if (config.pool > 1) parts.push_back(StatePart::fixed("open_pool", config.pool, 2 * config.head_dim));
    return parts;
}

TokenIndexer::Scratch TokenIndexer::take(int64_t rows, Workspace& workspace) const {
    Scratch s{.query = workspace.take(rows, config_.heads * config_.head_dim),
              .key = workspace.take(rows, config_.head_dim),
              .weights = workspace.take(rows, config_.heads),
              .gate = {},
              .pooled = {}};
    if (!pooling_) return s;
    s.gate = workspace.take(rows, config_.head_dim);
    s.pooled = workspace.take(rows, config_.head_dim);
    return s;
}

// Rounded activations would change which tokens are seen, so nothing is.
void TokenIndexer::run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& query_latent,
                       Workspace& workspace) const {
    const Scratch s = take(batch.rows, workspace);
    backend.run(Linear{.x = query_latent, .weight = query_, .out = s.query, .full_precision = true});
    backend.run(Linear{.x = x, .weight = key_, .out = s.key, .full_precision = true});
    backend.run(Linear{.x = x, .weight = weights_, .out = s.weights, .full_precision = true});
    backend.run(
        LayerNorm{.x = s.key, .weight = key_norm_, .bias = key_norm_bias_, .epsilon = kKeyNormEpsilon, .out = s.key});
    rotate(backend, batch, s.query);
    rotate(backend, batch, s.key);
    append(backend, batch, x, s);
    backend.run(SelectTokens{.query = s.query,
                             .weights = s.weights,
                             .ratio = config_.pool,
                             .sequences = batch.table,
                             .cache = batch.cache(layer_, kKeys),
                             .out = batch.selected.columns_at(0, config_.most_seen())});
}

// The keys that are complete now.
void TokenIndexer::append(Backend& backend, const Batch& batch, const Tensor& x, const Scratch& s) const {
    if (pooling_) {
        backend.run(Linear{.x = x, .weight = pooling_->gate, .out = s.gate, .full_precision = true});
        backend.run(PoolTokens{.values = s.key,
                               .gates = s.gate,
                               .offsets = pooling_->offsets,
                               .sequences = batch.table,
                               .states = batch.states(layer_, kOpenPool),
                               .out = s.pooled});
    }
    backend.run(AppendRows{.rows = pooling_ ? s.pooled : s.key,
                           .ratio = config_.pool,
                           .sequences = batch.table,
                           .cache = batch.cache(layer_, kKeys)});
}

// The first dims of every head.
void TokenIndexer::rotate(Backend& backend, const Batch& batch, const Tensor& x) const {
    if (rotation_.frequencies.buffer == nullptr) return;
    backend.run(Rotary{.x = x,
                       .positions = batch.positions,
                       .frequencies = rotation_.frequencies,
                       .head_dim = config_.head_dim,
                       .interleaved = config_.interleaved,
                       .magnitude = rotation_.magnitude});
}

}  // namespace sluice
