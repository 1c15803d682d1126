// Which way a product takes to the tensor cores, and what is made ready before.

#include "backend/cuda/matrix_products.h"

#include <algorithm>
#include <array>
#include <utility>

#include "backend/cuda/matrix_general.h"
#include "backend/cuda/matrix_hopper.h"
#include "backend/cuda/matrix_rows.h"
#include "tensor/codecs.h"

namespace sluice::cuda {

namespace {

// Weights that are decoded before, and rows of x, take no more at a time where they can be divided.
constexpr uint64_t kPieceBytes = uint64_t{256} << 20;

// Places in scratch, one after the other.
class ScratchPlan {
  public:
    uint64_t add(uint64_t bytes) {
        return std::exchange(bytes_, bytes_ + (bytes + kAlignment - 1) / kAlignment * kAlignment);
    }
    uint64_t bytes() const { return bytes_; }

  private:
    static constexpr uint64_t kAlignment = 256;
    uint64_t bytes_ = 0;
};

uint64_t bf16_bytes(int64_t rows, int64_t columns) {
    return static_cast<uint64_t>(rows * whole_chunks(columns)) * sizeof(uint16_t);
}

bool all_multiples(std::span<const Job> jobs, uintptr_t data, uintptr_t scales) {
    return std::ranges::all_of(jobs, [&](const Job& job) {
        const auto at = [](const uint8_t* place) { return reinterpret_cast<uintptr_t>(place); };
        return at(job.data) % data == 0 && (at(job.scales) | at(job.zero_points)) % scales == 0;
    });
}

}  // namespace

MatrixPath matrix_path(const WeightFormat& format, int64_t columns, std::span<const Job> jobs) {
    if (!has_warpgroups()) return {.warpgroups = false, .decoded = true, .order = ColumnOrder::kPlain};
    const bool whole = columns % kChunkColumns == 0;
    const bool nibbles = format.codec == &kAffineCodec && format.bits == 4 && format.dtype == DType::kBF16;
    if (whole && nibbles && all_multiples(jobs, 8, sizeof(uint16_t)))
        return {.warpgroups = true, .decoded = false, .order = ColumnOrder::kNibbles};
    const bool bf16 = format.codec == &kFloatCodec && format.dtype == DType::kBF16;
    return {
        .warpgroups = true, .decoded = !(whole && bf16 && all_multiples(jobs, 16, 1)), .order = ColumnOrder::kPairs};
}

namespace {

void multiply(Device& device, const MatrixPath& path, const MatrixArgs& args) {
    if (path.warpgroups) return multiply_on_warpgroups(device, args, path.order);
    multiply_on_any_card(device, args);
}

// How many rows a tile of a product has: what makes the least of all blocks' turns, by what a tile of each width takes.
int tile_rows_of(const Device& device, const MatrixPath& path, const Product& product, int64_t rows) {
    struct Width {
        int rows;
        double cost;
    };
    constexpr Width kWidths[] = {{256, 1.0}, {192, 0.88}, {128, 0.71}, {64, 0.5}};
    constexpr int64_t kOutputs = 128;
    if (!path.warpgroups) return kGeneralTileRows;
    int best = 0;
    double least = 0;
    for (const Width& width : kWidths) {
        const int64_t tiles =
            (product.weight.rows + kOutputs - 1) / kOutputs * product.batch * ((rows + width.rows - 1) / width.rows);
        const int64_t turns = (tiles + device.multiprocessors() - 1) / device.multiprocessors();
        const double cost = static_cast<double>(turns) * width.cost;
        if (best == 0 || cost < least) best = width.rows, least = cost;
    }
    return best;
}

// The product whose outputs are rows [first, first + count) of the weight.
Product outputs_of(Product product, int64_t first, int64_t count) {
    DeviceWeight& weight = product.weight;
    Job& job = product.jobs[0];
    const int64_t block_row = job.block_row_offset + first;
    job.data += first * weight.data_row_bytes;
    const int64_t scales = block_row / weight.group_rows * weight.scale_row_bytes;
    if (job.scales != nullptr) job.scales += scales;
    if (job.zero_points != nullptr) job.zero_points += scales;
    job.block_row_offset = static_cast<int32_t>(block_row % weight.group_rows);
    job.out += first;
    if (job.bias != nullptr) job.bias += first;
    weight.rows = count;
    return product;
}

}  // namespace

namespace {

void multiply_job(Device& device, const WeightFormat& format, const Product& product) {
    const Job& job = product.jobs[0];
    const int64_t columns = product.weight.columns, rows = job.count, parts = product.batch;
    const MatrixPath path = matrix_path(format, columns, std::span(product.jobs, 1));
    // Outputs and rows that are taken together.
    const auto fitting = [](uint64_t bytes_of_one, int64_t all) {
        return std::clamp<int64_t>(static_cast<int64_t>(kPieceBytes / bytes_of_one), 64, all);
    };
    const int64_t some_rows = rows <= 64 ? rows : fitting(bf16_bytes(parts, columns), rows);
    const int64_t outputs = product.weight.rows;
    const bool divided = path.decoded && parts == 1 && outputs > 64;
    const int64_t some_outputs = divided ? fitting(bf16_bytes(1, columns), outputs) : outputs;

    ScratchPlan plan;
    const uint64_t x_at = plan.add(bf16_bytes(parts * some_rows, columns));
    const uint64_t decoded_at = plan.add(path.decoded ? bf16_bytes(parts * some_outputs, columns) : 0);
    std::byte* const scratch = device.scratch(plan.bytes());
    auto* const x = reinterpret_cast<uint16_t*>(scratch + x_at);
    auto* const decoded = reinterpret_cast<uint16_t*>(scratch + decoded_at);

    for (int64_t output = 0; output < outputs; output += some_outputs) {
        const Product part = divided ? outputs_of(product, output, std::min(some_outputs, outputs - output)) : product;
        if (path.decoded) device_codec(format).round_weights(device, part, 0, product.batch, decoded);
        for (int64_t row = 0; row < rows; row += some_rows) {
            const int64_t count = std::min(some_rows, rows - row);
            if (output == 0 || some_rows < rows) {
                round_rows(device,
                           {.x = job.x + row * product.x_stride,
                            .up = nullptr,
                            .stride = product.x_stride,
                            .columns = columns,
                            .count = count,
                            .parts = parts,
                            .part_step = product.x_step,
                            .out = x,
                            .order = path.order},
                           product);
            }
            MatrixArgs args{.product = part,
                            .x = x,
                            .x_columns = whole_chunks(columns),
                            .x_rows = parts * count,
                            .x_by_base = true,
                            .decoded = path.decoded ? decoded : nullptr,
                            .jobs = product.batch,
                            .rows = static_cast<int32_t>(count),
                            .tile_rows = tile_rows_of(device, path, part, count)};
            args.product.jobs[0].out += row * product.out_stride;
            multiply(device, path, args);
        }
    }
}

}  // namespace

void multiply_matrices(Device& device, const WeightFormat& format, const Product& product) {
    Product one = product;
    one.job_count = 1;
    for (int32_t i = 0; i < product.job_count; ++i) {
        const Job& job = product.jobs[i];
        one.jobs[0] = job;
        one.weight.rows = job.outputs > 0 ? job.outputs : product.weight.rows;
        one.out_stride = job.out_stride > 0 ? job.out_stride : product.out_stride;
        multiply_job(device, format, one);
    }
}

namespace {

// What the products of experts need beside their operands, and where it lies.
class ExpertPlan {
  public:
    explicit ExpertPlan(const ExpertProducts& experts)
        : experts_(experts),
          first_(matrix_path(experts.gate_format, hidden(), experts.first_samples)),
          second_(matrix_path(experts.down_format, inner(), experts.second_samples)),
          joined_(experts.gated && first_.warpgroups && experts.gate_format == experts.up_format) {
        if (!joined_ && !(experts.gate_format == experts.up_format)) {
            first_ = {.warpgroups = first_.warpgroups,
                      .decoded = true,
                      .order = first_.warpgroups ? ColumnOrder::kPairs : ColumnOrder::kPlain};
        }
        first_piece_ = piece_of(first_, matrices() * bf16_bytes(inner(), hidden()));
        second_piece_ = piece_of(second_, bf16_bytes(hidden(), inner()));
        x_at_ = plan_.add(bf16_bytes(experts.x_rows, hidden()));
        joined_at_ = plan_.add(bf16_bytes(experts.all_rows, inner()));
        const auto floats = joined_ ? 0 : static_cast<uint64_t>(experts.all_rows * inner()) * sizeof(float);
        gates_at_ = plan_.add(floats);
        ups_at_ = experts.gated ? plan_.add(floats) : gates_at_;
        lists_at_ = plan_.add(tile_list_bytes(experts.count, experts.all_rows));
        const uint64_t first_bytes = first_.decoded ? matrices() * first_piece_ * bf16_bytes(inner(), hidden()) : 0,
                       second_bytes = second_.decoded ? second_piece_ * bf16_bytes(hidden(), inner()) : 0;
        decoded_at_ = plan_.add(std::max(first_bytes, second_bytes));
    }

    uint64_t bytes() const { return plan_.bytes(); }

    void run(Device& device, std::byte* scratch) {
        device_ = &device;
        scratch_ = scratch;
        round_x();
        listed_ = {};
        for_pieces(first_, first_piece_, [&](const JobRange& range) { multiply_first(range); });
        if (!joined_) join();
        for_pieces(second_, second_piece_, [&](const JobRange& range) { multiply_second(range); });
    }

  private:
    int64_t hidden() const { return experts_.gates.weight.columns; }
    int64_t inner() const { return experts_.gates.weight.rows; }
    int64_t matrices() const { return experts_.gated ? 2 : 1; }  // that rows of x meet
    template <typename Number>
    Number* at(uint64_t place) const {
        return reinterpret_cast<Number*>(scratch_ + place);
    }

    int64_t piece_of(const MatrixPath& path, uint64_t bytes_of_job) const {
        if (!path.decoded) return experts_.count;
        return std::clamp<int64_t>(static_cast<int64_t>(kPieceBytes / bytes_of_job), 1, experts_.count);
    }

    template <typename Multiply>
    void for_pieces(const MatrixPath& path, int64_t piece, const Multiply& multiply_piece) {
        for (int64_t first = 0; first < experts_.count; first += piece) {
            const JobRange range{static_cast<int32_t>(first),
                                 static_cast<int32_t>(std::min<int64_t>(first + piece, experts_.count)),
                                 experts_.count};
            const int widest = path.warpgroups ? TileLists::kWidths - 1 : 0;
            lists_ = tile_lists_at(at<std::byte>(lists_at_), experts_.count, experts_.all_rows, widest);
            if (!(listed_ == range)) list_tiles(*device_, experts_.gates, range, lists_);
            listed_ = range;
            multiply_piece(range);
        }
    }

    void round_x() {
        const Product& product = experts_.gates;
        round_rows(*device_,
                   {.x = experts_.x,
                    .up = nullptr,
                    .stride = product.x_stride,
                    .columns = hidden(),
                    .count = experts_.x_rows,
                    .parts = 1,
                    .part_step = 0,
                    .out = at<uint16_t>(x_at_),
                    .order = first_.order},
                   product);
    }

    // Once for every list of tiles.
    void multiply_lists(const MatrixPath& path, MatrixArgs args) {
        for (int width = lists_.widest; width >= 0; --width) {
            if (width > 0 && experts_.most_rows <= TileLists::rows(width - 1)) continue;
            args.tiles = lists_.tiles[width];
            args.tile_count = lists_.counts + width;
            args.tile_rows = TileLists::rows(width);
            multiply(*device_, path, args);
        }
    }

    MatrixArgs first_args(const JobRange& range) const {
        MatrixArgs args{.product = experts_.gates,
                        .ups_after = experts_.count,
                        .x = at<uint16_t>(x_at_),
                        .x_columns = whole_chunks(hidden()),
                        .first_decoded = range.first,
                        .decoded_ups_after = range.end - range.first,
                        .jobs = experts_.count};
        args.product.activation = experts_.downs.activation;
        args.product.alpha = experts_.downs.alpha;
        args.product.limit = experts_.downs.limit;
        args.product.up_offset = experts_.downs.up_offset;
        if (first_.decoded) args.decoded = at<uint16_t>(decoded_at_);
        return args;
    }

    void multiply_first(const JobRange& range) {
        MatrixArgs args = first_args(range);
        if (first_.decoded) {
            const int count = range.end - range.first;
            auto* const decoded = at<uint16_t>(decoded_at_);
            device_codec(experts_.gate_format).round_weights(*device_, experts_.gates, range.first, count, decoded);
            if (experts_.gated) round_ups(range.first, count, decoded + count * inner() * whole_chunks(hidden()));
        }
        if (joined_) {
            args.joined = at<uint16_t>(joined_at_);
            args.joined_columns = whole_chunks(inner());
            args.joined_order = second_.order;
            return multiply_lists(first_, args);
        }
        args.product.out_stride = inner();
        args.out_by_base = at<float>(gates_at_);
        multiply_lists(first_, args);
        if (!experts_.gated) return;
        args.product.weight = experts_.up_weight;
        args.first_job = experts_.count;
        args.first_decoded = range.first - args.decoded_ups_after;
        args.out_by_base = at<float>(ups_at_);
        multiply_lists(first_, args);
    }

    void round_ups(int first, int count, uint16_t* out) {
        Product ups = experts_.gates;
        ups.weight = experts_.up_weight;
        device_codec(experts_.up_format).round_weights(*device_, ups, experts_.count + first, count, out);
    }

    void join() {
        round_rows(*device_,
                   {.x = at<float>(gates_at_),
                    .up = at<float>(ups_at_),
                    .stride = inner(),
                    .columns = inner(),
                    .count = experts_.all_rows,
                    .parts = 1,
                    .part_step = 0,
                    .out = at<uint16_t>(joined_at_),
                    .order = second_.order},
                   experts_.downs);
    }

    void multiply_second(const JobRange& range) {
        MatrixArgs args{.product = experts_.downs,
                        .x = at<uint16_t>(joined_at_),
                        .x_columns = whole_chunks(inner()),
                        .x_rows = experts_.all_rows,
                        .x_by_base = true,
                        .first_decoded = range.first,
                        .jobs = experts_.count};
        if (second_.decoded) {
            args.decoded = at<uint16_t>(decoded_at_);
            device_codec(experts_.down_format)
                .round_weights(*device_, experts_.downs, range.first, range.end - range.first,
                               at<uint16_t>(decoded_at_));
        }
        multiply_lists(second_, args);
    }

    const ExpertProducts& experts_;
    MatrixPath first_, second_;  // gates and ups, downs
    bool joined_;
    int64_t first_piece_ = 0, second_piece_ = 0;  // experts
    ScratchPlan plan_;
    uint64_t x_at_ = 0, joined_at_ = 0, gates_at_ = 0, ups_at_ = 0, lists_at_ = 0, decoded_at_ = 0;
    Device* device_ = nullptr;
    std::byte* scratch_ = nullptr;
    TileLists lists_{};
    JobRange listed_{};  // what the lists have
};

}  // namespace

uint64_t expert_scratch_bytes(const ExpertProducts& experts) {
    return ExpertPlan(experts).bytes();
}

void multiply_experts(Device& device, const ExpertProducts& experts, std::byte* scratch) {
    ExpertPlan(experts).run(device, scratch);
}

}  // namespace sluice::cuda
