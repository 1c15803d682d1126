#include "engine/cluster/kernel_rate.h"

#include <algorithm>
#include <numeric>
#include <vector>

#include "base/clock.h"
#include "model/expert_layer.h"
#include "model/workspace.h"
#include "peers/peers.h"

namespace sluice {

namespace {

constexpr uint64_t kRecordsBytes = 64 << 20;  // more than the caches hold
constexpr double kKernelSeconds = 0.05;
// In every format a number of ordinary size.
constexpr std::byte kWeights{0x3f};

// Records of a layer with nothing of a model in them, and one row that asks for as many as a token does.
class KernelTrial {
  public:
    KernelTrial(const Checkpoint& checkpoint, const ExpertLayout& layout, int layer, Backend& backend)
        : backend_(backend),
          layout_(layout),
          trunk_(checkpoint, backend),
          experts_(*checkpoint.config().mixture_of(layer), layer, trunk_),
          at_once_(static_cast<size_t>(checkpoint.config().experts_per_token())),
          records_(
              backend.make_slots(std::max<size_t>(at_once_, kRecordsBytes / layout.record_bytes), layout.record_bytes)),
          workspace_(backend) {
        const std::vector<std::byte> record(layout.record_bytes, kWeights);
        for (size_t slot = 0; slot < records_->slots(); ++slot) backend.upload(records_->buffer(slot), 0, record);
        const int64_t columns = layout.down.rows, rows = static_cast<int64_t>(at_once_);
        x_ = workspace_.take(1, columns);
        out_ = workspace_.take(rows, columns);
        row_ = workspace_.take(1, 1, DType::kI32);
        out_rows_ = workspace_.take(rows, 1, DType::kI32);
        std::vector<int32_t> numbers(at_once_);
        std::iota(numbers.begin(), numbers.end(), 0);
        const std::vector<float> x(static_cast<size_t>(columns), 1.0f);
        backend.upload(x_.buffer, x_.offset, std::as_bytes(std::span(x)));
        backend.upload(row_.buffer, row_.offset, std::as_bytes(std::span(numbers).first(1)));
        backend.upload(out_rows_.buffer, out_rows_.offset, std::as_bytes(std::span(numbers)));
        backend.wait();
    }

    double bytes_per_second() {
        step();
        // The shortest step: what else the machine has to do now does not last.
        double shortest = kForEver;
        for (const Stopwatch watch; watch.seconds() < kKernelSeconds;) {
            const Stopwatch one;
            step();
            shortest = std::min(shortest, one.seconds());
        }
        return static_cast<double>(at_once_ * layout_.record_bytes) / shortest;
    }

  private:
    void step() {
        GatedMlp operation{.x = x_, .groups = {}, .out = out_, .activation = experts_.activation()};
        for (size_t i = 0; i < at_once_; ++i) {
            const auto out_row = out_rows_.rows_at(static_cast<int64_t>(i), 1);
            operation.groups.push_back(
                experts_.one(layout_, records_->buffer(next_), static_cast<int>(i), row_, out_row));
            next_ = (next_ + 1) % records_->slots();
        }
        backend_.run(operation);
        backend_.wait();
    }

    Backend& backend_;
    const ExpertLayout& layout_;
    Trunk trunk_;
    ExpertLayer experts_;
    size_t at_once_, next_ = 0;
    std::unique_ptr<SlotMemory> records_;
    Workspace workspace_;
    Tensor x_, out_, row_, out_rows_;
};

}  // namespace

double measure_kernels(const Checkpoint& checkpoint, const ExpertStoreOptions& how, Backend& backend) {
    const std::shared_ptr<const Checkpoint> borrowed(std::shared_ptr<void>(), &checkpoint);
    const std::vector<ExpertLayout> layouts = ExpertCatalogue::of(borrowed, how.in_tiles).layouts;
    for (int layer = 0; layer < checkpoint.config().layer_count(); ++layer) {
        if (checkpoint.config().mixture_of(layer) == nullptr) continue;
        return KernelTrial(checkpoint, layouts[static_cast<size_t>(layer)], layer, backend).bytes_per_second();
    }
    return 0;
}

}  // namespace sluice
