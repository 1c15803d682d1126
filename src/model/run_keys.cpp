#include "model/run_keys.h"

#include <fmt/format.h>

namespace sluice {

void KeyRotation::run(Backend& backend, const Tensor& x, const Tensor& positions) const {
    backend.run(Rotary{.x = x,
                       .positions = positions,
                       .frequencies = frequencies,
                       .head_dim = head_dim,
                       .first = head_dim - 2 * frequencies.columns,
                       .interleaved = true});
}

RunKeys::RunKeys(const CompressedAttentionConfig& config, const Roles& roles, const Place& place,
                 const KeyRotation& rotation, Trunk& trunk)
    : place_(place),
      overlapping_(config.overlapping),
      rotation_(rotation),
      key_(trunk.weight(place.layer, roles.key)),
      gate_(trunk.weight(place.layer, roles.gate)),
      offsets_(trunk.table(place.layer, roles.offsets, config.ratio)),
      norm_(trunk.vector(place.layer, roles.norm)) {}

std::vector<StatePart> RunKeys::state_parts(const CompressedAttentionConfig& config, int64_t head_dim, KvFormat format,
                                            const std::string& name) {
    const int64_t series = config.series();
    return {StatePart::cache(name, format, kv_row_bytes(format, head_dim), config.ratio),
            StatePart::fixed(fmt::format("{}_open_run", name), series * config.ratio, 2 * series * head_dim)};
}

RunKeys::Scratch RunKeys::take(int64_t rows, Workspace& workspace) const {
    return {.key = workspace.take(rows, key_.rows),
            .gate = workspace.take(rows, gate_.rows),
            .pooled = workspace.take(rows, rotation_.head_dim)};
}

// A run's key stays for all later tokens, so what it is made of is not rounded.
void RunKeys::run(Backend& backend, const Batch& batch, const Tensor& x, Workspace& workspace) const {
    const Scratch s = take(batch.rows, workspace);
    backend.run(Linear{.x = x, .weight = key_, .out = s.key, .full_precision = true});
    backend.run(Linear{.x = x, .weight = gate_, .out = s.gate, .full_precision = true});
    backend.run(PoolTokens{.values = s.key,
                           .gates = s.gate,
                           .offsets = offsets_,
                           .overlapping = overlapping_,
                           .sequences = batch.table,
                           .states = batch.states(place_.layer, place_.parts.open_run),
                           .out = s.pooled});
    backend.run(RmsNorm{.x = s.pooled, .weight = norm_, .epsilon = place_.epsilon, .out = s.pooled});
    rotation_.run(backend, s.pooled, batch.run_starts.at(ratio()));
    backend.run(AppendRows{.rows = s.pooled, .ratio = offsets_.rows, .sequences = batch.table, .cache = cache(batch)});
}

}  // namespace sluice
