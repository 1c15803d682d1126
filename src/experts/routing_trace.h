#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

namespace sluice {

// Which experts each token of each MoE layer chose, in the order they were asked for; saved as safetensors: `experts`
// I32 [steps, top_k], `layer` I32 [steps], `position` I32 [steps], `batch` I32 [steps] and metadata {"layers",
// "experts", "top_k"}. A batch is what one append() brought: the rows of one layer in one forward pass. Where `batch`
// is missing, steps of one layer in a row are a batch. One thread.
class RoutingTrace {
  public:
    RoutingTrace(int64_t layers, int64_t experts, int64_t top_k);
    // ids: [rows, top_k] of one layer in one forward pass; positions: [rows]. Throws kUsage for what is out of range.
    void append(int layer, std::span<const int32_t> ids, std::span<const int32_t> positions);
    void save(const std::filesystem::path& path) const;
    // Throws kInvalidFile naming the tensor or the metadata that does not fit.
    static RoutingTrace load(const std::filesystem::path& path);

    int64_t layers() const { return layers_; }
    int64_t experts() const { return experts_; }
    int64_t top_k() const { return top_k_; }
    int64_t steps() const { return static_cast<int64_t>(layer_.size()); }
    int32_t layer(int64_t step) const { return layer_[static_cast<size_t>(step)]; }
    int32_t position(int64_t step) const { return position_[static_cast<size_t>(step)]; }
    int32_t batch(int64_t step) const { return batch_[static_cast<size_t>(step)]; }
    std::span<const int32_t> chosen(int64_t step) const;

  private:
    int64_t layers_, experts_, top_k_;
    std::vector<int32_t> experts_chosen_, layer_, position_, batch_;
};

}  // namespace sluice
