#include <algorithm>
#include <cmath>
#include <optional>

#include "model/mixer.h"

namespace sluice {

namespace {

// The latent and key norms of the MLA projections ignore the config's epsilon.
constexpr float kLatentNormEpsilon = 1e-6f;

// Fewer new tokens than this are always folded: see docs/experiments.md for the measurement.
constexpr int64_t kExpandFromTokens = 64;
// A multiplication of the expansion takes about as long as this many of attention: weights are decoded for it.
constexpr int64_t kExpansionCost = 2;

// Cached tokens whose scores the folded form holds at once; longer caches go in tiles.
constexpr int64_t kTileTokens = 4096;

class LatentMixer : public Mixer {
  public:
    LatentMixer(const LatentAttentionConfig& config, const MixerContext& context, Trunk& trunk)
        : layer_(context.layer),
          heads_(config.heads),
          query_rank_(config.query_rank),
          rank_(config.key_value_rank),
          nope_(config.nope_dim),
          rope_(config.rope_dim),
          value_(config.value_dim),
          kv_format_(context.kv_format),
          split_(config.split_key_value),
          key_value_(trunk.weight(layer_, Role::kKeyValueLatent)),
          key_value_norm_(trunk.vector(layer_, Role::kKeyValueLatentNorm)),
          output_(trunk.weight(layer_, Role::kOutput)) {
        if (query_rank_ > 0) {
            query_down_ = trunk.weight(layer_, Role::kQueryLatent);
            query_norm_ = trunk.vector(layer_, Role::kQueryLatentNorm);
            query_up_ = trunk.weight(layer_, Role::kQueryFromLatent);
        } else {
            query_up_ = trunk.weight(layer_, Role::kQuery);
        }
        key_fold_ = trunk.weight(layer_, split_ ? Role::kKeyFold : Role::kKeyValueFromLatent);
        value_unfold_ = trunk.weight(layer_, split_ ? Role::kValueUnfold : Role::kKeyValueFromLatent);
        const RotaryTable table = make_rotary_table(config.rotary);
        frequencies_ = trunk.upload(table.frequencies, static_cast<int64_t>(table.frequencies.size()));
        interleaved_ = config.rotary.interleaved;
        magnitude_ = table.magnitude;
        scale_ = table.softmax_factor / std::sqrt(static_cast<float>(nope_ + rope_));
    }

    StateSpec state_spec() const override {
        StateSpec spec;
        spec.kv_format = kv_format_;
        spec.kv_bytes_per_token = kv_row_bytes(kv_format_, rank_) + kv_row_bytes(kv_format_, rope_);
        return spec;
    }

    void take_scratch(int64_t rows, Workspace& workspace) const override { (void)take(rows, workspace); }

    void run(Backend& backend, const Batch& batch, const Tensor& x, const Tensor& residual,
             Workspace& workspace) const override {
        const Scratch s = take(batch.rows, workspace);
        project(backend, x, s);
        const SplitLatentProjection parts{.fused = s.key_value, .kv_lora = rank_};
        const Tensor latent = parts.latent(), rotary_key = parts.rotary_key();
        backend.run(RmsNorm{.x = latent, .weight = key_value_norm_, .epsilon = kLatentNormEpsilon, .out = latent});
        rotate(backend, batch, s.query, nope_ + rope_, nope_);
        rotate(backend, batch, rotary_key, rope_, 0);

        const std::vector<KvSegment> segments = batch.kv_segments(layer_);
        backend.run(AppendLatent{.latent = latent, .rotary_key = rotary_key, .segments = segments});
        for (const Run& run : runs(segments)) {
            if (run.expanded) {
                attend_expanded(backend, s, run);
            } else {
                attend_folded(backend, s, run);
            }
        }
        backend.run(Linear{.x = s.mixed, .weight = output_, .out = residual, .accumulate = true});
    }

  private:
    struct Scratch {
        Tensor query_latent, query, key_value, folded, attended, maximum, total, mixed;
    };

    Scratch take(int64_t rows, Workspace& workspace) const {
        Scratch s;
        if (query_rank_ > 0) s.query_latent = workspace.take(rows, query_rank_);
        s.query = workspace.take(rows, heads_ * (nope_ + rope_));
        s.key_value = workspace.take(rows, rank_ + rope_);
        s.folded = workspace.take(rows, heads_ * rank_);
        s.attended = workspace.take(rows, heads_ * rank_);
        s.maximum = workspace.take(rows, heads_);
        s.total = workspace.take(rows, heads_);
        s.mixed = workspace.take(rows, heads_ * value_);
        return s;
    }

    void project(Backend& backend, const Tensor& x, const Scratch& s) const {
        Tensor source = x;
        if (query_rank_ > 0) {
            backend.run(Linear{.x = x, .weight = *query_down_, .out = s.query_latent});
            backend.run(RmsNorm{
                .x = s.query_latent, .weight = query_norm_, .epsilon = kLatentNormEpsilon, .out = s.query_latent});
            source = s.query_latent;
        }
        backend.run(Linear{.x = source, .weight = *query_up_, .out = s.query});
        backend.run(Linear{.x = x, .weight = key_value_, .out = s.key_value});
    }

    // Segments one after the other that take the same form, their rows counted from first_row.
    struct Run {
        bool expanded = false;
        int64_t first_row = 0, rows = 0;
        std::vector<KvSegment> segments;
    };

    // Expanding costs a pass over every cached token and then less per query and token; folding costs per query. Only
    // the segment's own shape decides, so company changes no bit.
    bool expands(const SequenceRows& rows) const {
        if (rows.count < kExpandFromTokens) return false;
        const int64_t visible = rows.count * rows.position + rows.count * (rows.count + 1) / 2;
        return kExpansionCost * rows.position * (nope_ + value_) * rank_ < visible * (2 * rank_ - nope_ - value_);
    }

    std::vector<Run> runs(const std::vector<KvSegment>& segments) const {
        std::vector<Run> runs;
        for (KvSegment segment : segments) {
            const bool expanded = expands(segment.rows);
            if (runs.empty() || runs.back().expanded != expanded) {
                runs.push_back({.expanded = expanded, .first_row = segment.rows.first_row, .rows = 0, .segments = {}});
            }
            runs.back().rows += segment.rows.count;
            segment.rows.first_row -= runs.back().first_row;
            runs.back().segments.push_back(std::move(segment));
        }
        return runs;
    }

    void attend_folded(Backend& backend, const Scratch& s, const Run& run) const {
        const auto part = [&](const Tensor& tensor) { return tensor.rows_at(run.first_row, run.rows); };
        backend.run(FoldQuery{.query = part(s.query),
                              .key = key_fold_,
                              .transposed = !split_,
                              .heads = heads_,
                              .nope = nope_,
                              .rope = rope_,
                              .value = split_ ? 0 : value_,
                              .out = part(s.folded)});
        attend_latents(backend, s, run);
        backend.run(ProjectValue{.latent = part(s.attended),
                                 .value_weight = value_unfold_,
                                 .heads = heads_,
                                 .nope = split_ ? 0 : nope_,
                                 .value = value_,
                                 .out = part(s.mixed)});
    }

    void attend_latents(Backend& backend, const Scratch& s, const Run& run) const {
        const auto part = [&](const Tensor& tensor) { return tensor.rows_at(run.first_row, run.rows); };
        int64_t tokens = 0;
        for (const KvSegment& segment : run.segments)
            tokens = std::max(tokens, segment.rows.position + segment.rows.count);
        if (tokens <= kTileTokens) {
            backend.run(LatentAttention{.folded = part(s.folded),
                                        .query = part(s.query),
                                        .heads = heads_,
                                        .nope = nope_,
                                        .rope = rope_,
                                        .scale = scale_,
                                        .segments = run.segments,
                                        .out = part(s.attended)});
            return;
        }
        for (int64_t first = 0; first < tokens; first += kTileTokens) {
            backend.run(AccumulateLatentTile{.folded = part(s.folded),
                                             .query = part(s.query),
                                             .heads = heads_,
                                             .nope = nope_,
                                             .rope = rope_,
                                             .scale = scale_,
                                             .first_token = first,
                                             .tokens = kTileTokens,
                                             .segments = run.segments,
                                             .maximum = part(s.maximum),
                                             .total = part(s.total),
                                             .sum = part(s.attended)});
        }
        backend.run(FinalizeLatentTiles{.sum = part(s.attended), .total = part(s.total), .out = part(s.attended)});
    }

    void attend_expanded(Backend& backend, const Scratch& s, const Run& run) const {
        backend.run(ExpandedLatentAttention{.query = s.query.rows_at(run.first_row, run.rows),
                                            .key = key_fold_,
                                            .value_weight = value_unfold_,
                                            .transposed = !split_,
                                            .heads = heads_,
                                            .nope = nope_,
                                            .rope = rope_,
                                            .value = value_,
                                            .scale = scale_,
                                            .segments = run.segments,
                                            .out = s.mixed.rows_at(run.first_row, run.rows)});
    }

    void rotate(Backend& backend, const Batch& batch, const Tensor& x, int64_t head_dim, int64_t first) const {
        backend.run(Rotary{.x = x,
                           .positions = batch.positions,
                           .frequencies = frequencies_,
                           .head_dim = head_dim,
                           .first = first,
                           .interleaved = interleaved_,
                           .magnitude = magnitude_});
    }

    int layer_;
    int64_t heads_, query_rank_, rank_, nope_, rope_, value_;
    KvFormat kv_format_;
    bool split_;
    std::optional<Weight> query_down_, query_up_;
    Weight key_value_;
    Tensor query_norm_, key_value_norm_, frequencies_;
    Weight key_fold_, value_unfold_, output_;
    bool interleaved_ = false;
    float magnitude_ = 1, scale_ = 1;
};

}  // namespace

std::unique_ptr<Mixer> make_mixer(const LatentAttentionConfig& config, const MixerContext& context, Trunk& trunk) {
    return std::make_unique<LatentMixer>(config, context, trunk);
}

}  // namespace sluice
