// RoutedMlp: experts of one memory of records, chosen by ids that the host need not know.

#include <algorithm>
#include <array>
#include <utility>

#include "backend/cuda/joined.h"
#include "backend/cuda/matrix_products.h"
#include "backend/cuda/product.cuh"
#include "backend/cuda/products.h"

namespace sluice::cuda {

namespace {

constexpr int kGroupThreads = 512, kGroupWarps = kGroupThreads / 32;

// One job per expert, from those of the record in slot 0.
struct GroupArgs {
    Job gate, up, down;
    Choices choices;
    int32_t most;              // rows that an expert can have
    int32_t *rows, *entries;   // [experts, most] each: rows of x, and which choices they are
    Job *gates, *ups, *downs;  // [experts]
};

// A block per expert: its choices in ascending order. Each warp looks through a part of them, twice.
__global__ void __launch_bounds__(kGroupThreads) group_kernel(const GroupArgs args) {
    __shared__ int counts[kGroupWarps];
    const Choices& choices = args.choices;
    const int expert = blockIdx.x, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int part = (choices.count + kGroupWarps - 1) / kGroupWarps;
    const int begin = min(warp * part, choices.count), end = min(begin + part, choices.count);
    const auto mine = [&](int choice) {
        return choice < end &&
               choices.ids[choice / choices.top_k * choices.ids_stride + choice % choices.top_k] == expert;
    };
    int count = 0;
#pragma unroll 4
    for (int first = begin; first < end; first += 32) count += __popc(__ballot_sync(kAllLanes, mine(first + lane)));
    if (lane == 0) counts[warp] = count;
    __syncthreads();
    int at = 0, all = 0;
    for (int w = 0; w < kGroupWarps; ++w) {
        if (w < warp) at += counts[w];
        all += counts[w];
    }
    int32_t* const rows = args.rows + static_cast<int64_t>(expert) * args.most;
    int32_t* const entries = args.entries + static_cast<int64_t>(expert) * args.most;
    for (int first = begin; first < end; first += 32) {
        const int choice = first + lane;
        const bool chosen = mine(choice);
        const unsigned all_chosen = __ballot_sync(kAllLanes, chosen);
        if (chosen) {
            const int place = at + __popc(all_chosen & ((1u << lane) - 1));
            rows[place] = choices.row_per_choice ? choice : choice / choices.top_k;
            entries[place] = choice;
        }
        at += __popc(all_chosen);
    }
    if (threadIdx.x != 0) return;
    const auto write = [&](Job job, const int32_t* x_rows, Job& to) {
        job = job_of_expert(job, choices, expert);
        job.x_rows = x_rows;
        job.out_rows = entries;
        job.x_rows_stride = job.out_rows_stride = 1;
        job.count = all;
        to = job;
    };
    write(args.gate, rows, args.gates[expert]);
    write(args.up, rows, args.ups[expert]);
    write(args.down, entries, args.downs[expert]);
}

class Routed {
  public:
    Routed(Device& device, const RoutedMlp& op)
        : device_(device), op_(op), expert_(op.records.expert), choices_(op.ids.rows * op.ids.columns) {}

    void run() {
        const bool apart = op_.ids.rows <= kMostStepRows, many = !apart && on_tensor_cores();
        const int64_t experts = op_.records.slots.rows, inner = expert_.up.rows;
        const auto scratch_of = [&](uint64_t bytes) { return std::exchange(bytes_, bytes_ + bytes); };
        const uint64_t products = scratch_of(many ? expert_scratch_bytes(products_over(nullptr)) : 0);
        const uint64_t floats = many ? 0 : static_cast<uint64_t>(choices_ * inner) * sizeof(float);
        const uint64_t gates = scratch_of(floats), ups = gated() ? scratch_of(floats) : gates;
        const uint64_t jobs = scratch_of(apart ? 0 : static_cast<uint64_t>(3 * experts) * sizeof(Job));
        const uint64_t lists =
            scratch_of(apart ? 0 : static_cast<uint64_t>(2 * experts * op_.ids.rows) * sizeof(int32_t));
        std::byte* const scratch = device_.scratch(bytes_);
        gates_ = reinterpret_cast<float*>(scratch + gates);
        ups_ = reinterpret_cast<float*>(scratch + ups);
        if (apart) return run_apart();
        auto* const table = reinterpret_cast<Job*>(scratch + jobs);
        group(reinterpret_cast<int32_t*>(scratch + lists), table);
        if (many) return multiply_experts(device_, products_over(table), scratch + products);
        run_grouped(table);
    }

  private:
    bool gated() const { return op_.activation.gated(); }
    // What the first product is of: where there is no gate, ups.
    const Weight& first_weight() const { return gated() ? expert_.gate : expert_.up; }
    bool of_one_format() const { return expert_.up.format == first_weight().format; }

    Choices choices(bool row_per_choice) const {
        return {.ids = ints_of(op_.ids).first,
                .ids_stride = op_.ids.row_stride,
                .top_k = static_cast<int32_t>(op_.ids.columns),
                .count = static_cast<int32_t>(choices_),
                .places = places_of(op_.records),
                .row_per_choice = row_per_choice};
    }

    // On the record in slot 0.
    Job job(const Weight& weight, const Tensor& bias, const float* x, float* out) const {
        Job job = job_of(weight, op_.x, op_.out);
        job.x = x;
        job.out = out;
        job.count = 1;
        if (bias.buffer != nullptr) {
            job.bias = floats_at(bias);
            job.bias_stride = static_cast<int32_t>(bias.row_stride);
        }
        return job;
    }
    Job gate() const { return gated() ? job(expert_.gate, expert_.gate_bias, floats_at(op_.x), gates_) : up(); }
    Job up() const { return job(expert_.up, expert_.up_bias, floats_at(op_.x), ups_); }
    Job down() const {
        Job down = job(expert_.down, expert_.down_bias, gates_, floats_at(op_.out));
        down.up = ups_;
        return down;
    }

    Product first_product(const Weight& weight) const {
        Product product = product_of(device_, weight);
        product.x_stride = op_.x.row_stride;
        product.out_stride = expert_.up.rows;
        return product;
    }
    Product down_product() const {
        Product product = product_of(device_, expert_.down);
        product.x_stride = expert_.up.rows;
        product.out_stride = op_.out.row_stride;
        product.activation = op_.activation.kind;
        product.alpha = op_.activation.alpha;
        product.limit = op_.activation.limit;
        product.up_offset = op_.activation.up_offset;
        return product;
    }

    void run_apart() {
        Product first = first_product(first_weight()), ups = first_product(expert_.up), second = down_product();
        first.choices = ups.choices = choices(op_.row_per_choice());
        add_job(first, gate());
        if (gated()) add_job(of_one_format() ? first : ups, up());
        device_codec(first_weight().format).multiply(device_, first);
        if (ups.job_count > 0) device_codec(expert_.up.format).multiply(device_, ups);
        second.choices = choices(true);
        add_job(second, down());
        device_codec(expert_.down.format).multiply(device_, second);
    }

    // Few rows of an expert are not worth decoding its weights to memory before.
    bool on_tensor_cores() const {
        constexpr int64_t kRowsWorthDecoding = 16;
        const bool many = choices_ >= kRowsWorthDecoding * op_.records.slots.rows;
        const auto taken = [&](const Weight& weight, const Job& slot) {
            return cuda::on_tensor_cores(device_, weight.format, op_.ids.rows) &&
                   (many || !matrix_path(weight.format, weight.columns, samples(slot)).decoded);
        };
        return taken(first_weight(), gate()) && taken(expert_.up, up()) && taken(expert_.down, down());
    }

    // Jobs of all experts: gates, ups, downs.
    void group(int32_t* lists, Job* jobs) {
        const int64_t experts = op_.records.slots.rows;
        const GroupArgs args{.gate = gate(),
                             .up = up(),
                             .down = down(),
                             .choices = choices(op_.row_per_choice()),
                             .most = static_cast<int32_t>(op_.ids.rows),
                             .rows = lists,
                             .entries = lists + experts * op_.ids.rows,
                             .gates = jobs,
                             .ups = jobs + experts,
                             .downs = jobs + 2 * experts};
        group_kernel<<<static_cast<unsigned>(experts), kGroupThreads, 0, device_.stream()>>>(args);
        check_launch("RoutedMlp");
    }

    // In slot 0 and the next one, which tell how the matrices of all are aligned.
    std::array<Job, 2> samples(Job job) const {
        Job next = job;
        next.data += op_.records.slot_bytes;
        if (next.scales != nullptr) next.scales += op_.records.slot_bytes;
        if (next.zero_points != nullptr) next.zero_points += op_.records.slot_bytes;
        return {job, next};
    }

    ExpertProducts products_over(const Job* jobs) {
        const int64_t experts = op_.records.slots.rows;
        const auto gates = samples(gate()), ups = samples(up());
        first_samples_ = {gates[0], gates[1], ups[0], ups[1]};
        second_samples_ = samples(down());
        ExpertProducts products{.gated = gated(),
                                .gates = first_product(first_weight()),
                                .up_weight = device_weight(device_, expert_.up),
                                .downs = down_product(),
                                .gate_format = first_weight().format,
                                .up_format = expert_.up.format,
                                .down_format = expert_.down.format,
                                .first_samples = first_samples_,
                                .second_samples = second_samples_,
                                .count = static_cast<int32_t>(experts),
                                .most_rows = static_cast<int32_t>(op_.ids.rows),
                                .x = floats_at(op_.x),
                                .x_rows = op_.x.rows,
                                .all_rows = choices_};
        products.gates.table = jobs;
        products.downs.table = jobs == nullptr ? nullptr : jobs + 2 * experts;
        return products;
    }

    void run_grouped(const Job* jobs) {
        const int64_t experts = op_.records.slots.rows;
        Product first = first_product(first_weight()), ups = first_product(expert_.up), second = down_product();
        const bool apart = gated() && !of_one_format();
        multiply(first_weight().format, first, jobs, gated() && !apart ? 2 * experts : experts);
        if (apart) multiply(expert_.up.format, ups, jobs + experts, experts);
        multiply(expert_.down.format, second, jobs + 2 * experts, experts);
    }

    // A table's counts are known to the device alone: no expert has more rows than there are.
    void multiply(const WeightFormat& format, Product& product, const Job* table, int64_t jobs) const {
        product.table = table;
        product.job_count = static_cast<int32_t>(jobs);
        product.most_rows = static_cast<int32_t>(op_.ids.rows);
        cuda::run(device_, format, product, false);
    }

    std::array<Job, 4> first_samples_{};
    std::array<Job, 2> second_samples_{};
    Device& device_;
    const RoutedMlp& op_;
    const MlpGroup& expert_;
    int64_t choices_;
    uint64_t bytes_ = 0;
    float *gates_ = nullptr, *ups_ = nullptr;
};

}  // namespace

void compute(Device& device, const RoutedMlp& op) {
    if (op.ids.rows > 1 && multiply_experts_of_rows(device, op)) return;
    if (op.ids.rows > 0) Routed(device, op).run();
}

}  // namespace sluice::cuda
