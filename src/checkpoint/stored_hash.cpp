#include "checkpoint/stored_hash.h"

#include <limits>

#include "base/error.h"
#include "checkpoint/row_table_source.h"

namespace sluice {

NGramHash stored_hash(const Checkpoint& checkpoint, int layer) {
    const ModelConfig& config = checkpoint.config();
    const NGramConfig& ngrams = config.layers[static_cast<size_t>(layer)].ngrams;
    NGramHash hash = ngrams.hash;
    if (ngrams.stored_multipliers) hash.multipliers = checkpoint.integers(layer, Role::kNGramMultipliers);
    if (ngrams.stored_head_rows) hash.head_rows = checkpoint.integers(layer, Role::kNGramHeadRows);
    if (ngrams.stored_head_offsets) {
        hash.head_offsets = checkpoint.integers(layer, Role::kNGramHeadOffsets);
    } else {
        hash.head_offsets = offsets_of(hash.head_rows);
    }
    const RowTableSource& table = checkpoint.row_table(layer);
    const auto reject = [&](Role role, int64_t value) {
        const bool stored = checkpoint.has(layer, role);
        const WeightSource& source = stored ? checkpoint.weight(layer, role) : table.parts.front();
        fail(ErrorCode::kInvalidFile, "{}: tensor {}: {} makes no sense for a table of {} rows",
             checkpoint.files()[source.data.file].path.string(), source.spelled, value, table.rows());
    };
    // A product with a token is a number of 63 bits.
    const int64_t most = std::numeric_limits<int64_t>::max() / config.vocabulary;
    for (const int64_t multiplier : hash.multipliers) {
        if (multiplier < 1 || multiplier > most) reject(Role::kNGramMultipliers, multiplier);
    }
    for (size_t head = 0; head < hash.head_rows.size(); ++head) {
        const int64_t rows = hash.head_rows[head], offset = hash.head_offsets[head];
        if (rows < 1 || rows > table.rows()) reject(Role::kNGramHeadRows, rows);
        if (offset < 0 || offset > table.rows() - rows) reject(Role::kNGramHeadOffsets, offset);
    }
    return hash;
}

}  // namespace sluice
