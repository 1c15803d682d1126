#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/memory.h"
#include "checkpoint/matrix_form.h"
#include "checkpoint/model_config.h"
#include "checkpoint/weights.h"
#include "tensor/weight_view.h"

namespace sluice {

// Bytes in one of the checkpoint's files; `bytes` = 0 where there is no such part.
struct ByteRange {
    uint32_t file = 0;    // index into Checkpoint::files()
    uint64_t offset = 0;  // from the start of the file
    uint64_t bytes = 0;
};

// A weight matrix as it lies on disk.
struct WeightSource : Matrix<ByteRange> {
    std::string name;     // of the tensor, in the spelling of safetensors
    std::string spelled;  // as the file has it, for messages
    StoredForm form{};    // of another than the format's, scales and zero points are whatever stands in their places
};

// A tensor of the trunk in use.
struct TrunkWeight {
    int layer = kNoLayer;
    WeightSpec spec;
    WeightSource source;
};

// Where the parts of one projection lie inside an expert's slot, in bytes from the slot's start; 64-byte aligned.
using ProjectionLayout = Matrix<uint64_t>;

// A matrix of the trunk in memory of its own, since it is not stored as its format has it.
struct ArrangedMatrix {
    ProjectionLayout layout;
    std::shared_ptr<const PageMemory> memory;
};

// How every expert of a layer lies in memory (and in a packed file, where a record is exactly this).
struct ExpertLayout {
    ProjectionLayout gate, up, down;  // gate, up: [expert_intermediate, hidden]; down: [hidden, expert_intermediate]
    uint64_t record_bytes = 0;        // a multiple of 4096
};

// One contiguous read of an expert: file bytes that go to the slot at `slot_offset`.
struct ExpertRead {
    ByteRange source;
    uint64_t slot_offset = 0;
};

// One file of the checkpoint.
struct CheckpointFile {
    std::filesystem::path path;
    uint64_t bytes = 0;
};

// Tensors that Sluice does not use, by reason, for `inspect`.
struct SkippedTensors {
    std::string reason;  // "vision tower", "multi-token prediction", "not used by this architecture"
    uint64_t count = 0;
    uint64_t bytes = 0;
    std::string example;
};

struct RowTableSource;
struct ExpertShare;

// A published checkpoint, or a packed one, read as one catalogue. Everything is checked at open: header, ranges, shapes
// against config.json. Immutable afterwards, so const methods may be called from many threads.
class Checkpoint {
  public:
    // `model`: a folder with config.json and *.safetensors, a GGUF file, or a folder that holds one. Throws kNotFound,
    // kInvalidFile, kUnsupported with file and tensor.
    static std::shared_ptr<const Checkpoint> open(const std::filesystem::path& model);
    ~Checkpoint();
    Checkpoint(const Checkpoint&) = delete;
    Checkpoint& operator=(const Checkpoint&) = delete;

    const std::filesystem::path& folder() const;  // of a GGUF model its (first) file
    const std::string& config_text() const;       // as config.json has it
    const std::string& config_label() const;      // the file that says so, for messages
    const ModelConfig& config() const;
    const std::vector<CheckpointFile>& files() const;
    const std::vector<SkippedTensors>& skipped() const;
    bool packed() const;                    // the packed layout: one aligned, checksummed record per expert
    std::string layout_name() const;        // "Hugging Face", "MLX", "packed"
    std::string quantization_name() const;  // of the experts: "affine 4-bit, group 64", "BF16", ...
    uint64_t trunk_bytes() const;           // bytes of all trunk tensors in use
    uint64_t expert_bytes() const;          // bytes of all experts
    std::string fingerprint() const;        // of config, tensor headers and samples of the data: tells models apart
    std::string origin() const;             // of what was packed and how; the fingerprint of what is not packed
    const ExpertShare& share() const;       // of the experts whose records are there

    const std::vector<TrunkWeight>& trunk() const;  // without a head that is the embedding
    bool has(int layer, Role role) const;
    // A matrix of the trunk. kHead is the embedding where they are tied. Throws kNotFound naming the role and layer
    // when it is not there (open checks all that the architecture needs, so this is for optional roles).
    const WeightSource& weight(int layer, Role role) const;
    // A small tensor as float32: norms (the offset of (1+w) norms already added), biases, A_log; the conv kernel as
    // [channels, kernel], whichever way it is stored. Throws kInvalidFile on a value that is not finite.
    std::vector<float> vector(int layer, Role role) const;
    // A tensor of whole numbers. With a `limit` throws kInvalidFile on one that is not from 0 to `limit` - 1.
    std::vector<int64_t> integers(int layer, Role role) const;
    std::vector<int32_t> numbers(int layer, Role role, int64_t limit) const;

    // The table that the n-grams of a layer choose rows of. Throws kNotFound for a layer without.
    const RowTableSource& row_table(int layer) const;
    uint64_t row_table_bytes() const;  // of all layers

    // A matrix of the trunk in the mapping of its file, or arranged: valid as long as this checkpoint.
    WeightView view(const WeightSource& source) const;
    // One whose form is another than its format's, arranged when it is first asked for.
    ArrangedMatrix arranged(const WeightSource& source) const;
    uint64_t arranged_bytes() const;  // stored bytes of all of these

    // The bytes of a trunk part in the mapping of its file (never copied), and what keeps them valid.
    std::span<const std::byte> mapped(const ByteRange& range) const;
    std::shared_ptr<const void> owner_of(const ByteRange& range) const;
    // Throws kIo where a mapped file was cut or could not be read, so that what was computed since the last call may be
    // wrong; see MappedFile::check_intact.
    void check_mappings() const;
    std::vector<ByteRange> trunk_ranges() const;  // every part of every trunk tensor that is used where it is mapped

    // Experts of a MoE layer: one layout for the layer, the reads of one expert in file order, contiguous ones merged.
    const ExpertLayout& expert_layout(int layer) const;
    // Throws kNotFound for one whose record another folder holds.
    std::vector<ExpertRead> expert_reads(int layer, int expert) const;
    bool holds(int layer, int expert) const;
    // What is to be done to a slot when all reads of an expert have come: its bytes become those of the layout. Of the
    // layer's own experts; nothing for most. `scratch` is of the size that arrangement_scratch() says.
    void arrange_expert(int layer, std::span<std::byte> slot, std::span<std::byte> scratch) const;
    std::optional<uint64_t> arrangement_scratch(int layer) const;  // bytes; nothing: the reads make the layout
    // XXH3-64 of the record of a packed checkpoint; nothing for other layouts.
    std::optional<uint64_t> expert_checksum(int layer, int expert) const;

    // Reads every weight and names the first tensor that holds a NaN or infinity ("model.norm.weight: NaN at ...");
    // slow, to explain logits that are not finite.
    std::optional<std::string> find_non_finite() const;

  private:
    struct Impl;
    explicit Checkpoint(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace sluice
