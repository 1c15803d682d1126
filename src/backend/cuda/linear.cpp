// Embed, Linear and GatedMlp.

#include <algorithm>
#include <array>
#include <limits>
#include <span>

#include "backend/cuda/compute.h"
#include "backend/cuda/float_matrix.h"
#include "backend/cuda/matrix_products.h"
#include "backend/cuda/products.h"

namespace sluice::cuda {

namespace {

const int32_t* ints_at(const Tensor& tensor) {
    return reinterpret_cast<const int32_t*>(device_bytes(tensor.buffer) + tensor.offset);
}

const float* bias_at(const Tensor& bias) {
    return bias.buffer == nullptr ? nullptr : floats_at(bias);
}

bool alike(const Weight& a, const Weight& b) {
    return a.format == b.format && a.rows == b.rows && a.columns == b.columns;
}

}  // namespace

float* floats_at(const Tensor& tensor) {
    return reinterpret_cast<float*>(device_bytes(tensor.buffer) + tensor.offset);
}

Product product_of(const Device& device, const Weight& weight) {
    Product product{};
    product.weight = device_weight(device, weight);
    product.batch = 1;
    return product;
}

Job job_of(const Weight& weight, const Tensor& x, const Tensor& out) {
    const auto place = [](const WeightPart& part) -> const uint8_t* {
        if (part.buffer == nullptr) return nullptr;
        return reinterpret_cast<const uint8_t*>(device_bytes(part.buffer)) + part.offset;
    };
    Job job{};
    job.data = place(weight.data);
    job.scales = place(weight.scales);
    job.zero_points = place(weight.zero_points);
    job.block_row_offset = static_cast<int32_t>(weight.block_row_offset);
    job.x = floats_at(x);
    job.out = floats_at(out);
    job.count = static_cast<int32_t>(x.rows);
    return job;
}

RecordPlaces places_of(const ExpertRecords& records) {
    RecordPlaces places{.slots = ints_at(records.slots),
                        .slots_stride = records.slots.row_stride,
                        .slot_bytes = records.slot_bytes,
                        .first_more = std::numeric_limits<int64_t>::max(),
                        .more = 0};
    if (records.more.buffer == nullptr) return places;
    const auto address = [](const std::byte* place) {
        return static_cast<uint64_t>(reinterpret_cast<uintptr_t>(place));
    };
    places.first_more = records.first_more;
    places.more = address(reached_bytes(records.more.buffer)) + records.more.offset -
                  address(device_bytes(records.expert.up.data.buffer)) -
                  static_cast<uint64_t>(records.first_more) * records.slot_bytes;
    return places;
}

void add_job(Product& product, const Job& job) {
    product.jobs[product.job_count++] = job;
    product.most_rows = std::max(product.most_rows, job.count);
}

bool on_tensor_cores(const Device& device, const WeightFormat& format, int64_t batch_rows) {
    return !device.exact() && batch_rows > kMostStepRows && device_codec(format).round_weights != nullptr;
}

void run(Device& device, const WeightFormat& format, const Product& product, bool tensor_cores) {
    if (tensor_cores && product.table == nullptr) return multiply_matrices(device, format, product);
    device_codec(format).multiply(device, product);
}

void compute(Device& device, const Embed& op) {
    const RowChoice choice{.ids = ints_at(op.ids), .id_stride = op.ids.row_stride, .count = op.ids.rows};
    device_codec(op.table.format)
        .decode_rows(device, device_weight(device, op.table), choice, floats_at(op.out), op.out.row_stride);
}

void compute(Device& device, const Linear& op) {
    if (op.x.rows == 0) return;
    if (op.full_precision && !device.exact() && op.x.rows > kMostStepRows) return multiply_floats(device, op);
    Product product = product_of(device, op.weight);
    product.x_stride = op.x.row_stride;
    product.out_stride = op.out.row_stride;
    product.accumulate = op.accumulate;
    product.full_precision = op.full_precision;
    Job job = job_of(op.weight, op.x, op.out);
    job.bias = bias_at(op.bias);
    add_job(product, job);
    run(device, op.weight.format, product, !op.full_precision && on_tensor_cores(device, op.weight.format, op.x.rows));
}

bool go_together(const Linear& a, const Linear& b) {
    return a.weight.format == b.weight.format && a.weight.columns == b.weight.columns && !a.accumulate &&
           !b.accumulate && a.full_precision == b.full_precision && a.x.buffer == b.x.buffer &&
           a.x.offset == b.x.offset && a.x.rows == b.x.rows && a.x.row_stride == b.x.row_stride &&
           a.x.rows <= kMostStepRows;
}

void compute_together(Device& device, std::span<const Linear* const> ops) {
    const auto most = *std::ranges::max_element(ops, {}, [](const Linear* op) { return op->weight.rows; });
    Product product = product_of(device, most->weight);
    product.x_stride = most->x.row_stride;
    product.full_precision = most->full_precision;
    for (const Linear* op : ops) {
        Job job = job_of(op->weight, op->x, op->out);
        job.bias = bias_at(op->bias);
        job.outputs = static_cast<int32_t>(op->weight.rows);
        job.out_stride = op->out.row_stride;
        add_job(product, job);
    }
    run(device, most->weight.format, product, false);
}

namespace {

// A group of GatedMlp that has rows. How it is computed depends on nothing but itself and the batch: which groups come
// in one operation is for the drive to say.
struct BusyGroup {
    const MlpGroup* group;
    int64_t rows;
    std::array<MatrixPath, 3> paths;  // of gate, up and down
    bool tensor_cores;
    float *gate = nullptr, *up = nullptr;  // [rows, inner] each; without a gate the same
};

// Groups whose matrices are alike, handed over together, as many as a launch takes.
class Experts {
  public:
    Experts(Device& device, const GatedMlp& op) : device_(device), op_(op) {}

    void run() {
        std::vector<BusyGroup> groups;
        for (const MlpGroup& group : op_.groups) {
            const int64_t rows = group.all_rows() ? op_.x.rows : group.rows.rows;
            if (rows > 0) groups.push_back(busy_group(group, rows));
        }
        std::ranges::stable_partition(groups, &BusyGroup::tensor_cores);
        for (size_t begin = 0; begin < groups.size();) {
            size_t end = begin + 1;
            while (end < groups.size() && together(groups[begin], groups[end]) &&
                   (groups[begin].tensor_cores || end - begin < kMostApart)) {
                ++end;
            }
            const auto part = std::span(groups).subspan(begin, end - begin);
            if (part.front().tensor_cores) {
                run_on_tensor_cores(part);
            } else {
                run_in_floats(part);
            }
            begin = end;
        }
    }

  private:
    // Experts whose jobs go with a launch: by way of a table other kernels would take them, with other roundings, so
    // that a row's bits would depend on which experts came together.
    static constexpr size_t kMostApart = Product::kMostJobs / 2;

    // What the first product is of: where there is no gate, ups.
    const Weight& first_weight(const MlpGroup& group) const { return gated() ? group.gate : group.up; }
    bool gated() const { return op_.activation.gated(); }

    bool together(const BusyGroup& a, const BusyGroup& b) const {
        return a.tensor_cores == b.tensor_cores && a.paths == b.paths &&
               alike(first_weight(*a.group), first_weight(*b.group)) && alike(a.group->up, b.group->up) &&
               alike(a.group->down, b.group->down);
    }

    BusyGroup busy_group(const MlpGroup& group, int64_t rows) const {
        constexpr int64_t kRowsWorthDecoding = 16;  // to memory, before
        const std::array weights{&first_weight(group), &group.up, &group.down};
        BusyGroup busy{.group = &group, .rows = rows, .paths = {}, .tensor_cores = true};
        for (size_t i = 0; i < weights.size(); ++i) {
            const Job job = job_of(*weights[i], op_.x, op_.out);
            busy.paths[i] = matrix_path(weights[i]->format, weights[i]->columns, std::span(&job, 1));
            busy.tensor_cores = busy.tensor_cores && on_tensor_cores(device_, weights[i]->format, op_.x.rows) &&
                                (rows >= kRowsWorthDecoding || !busy.paths[i].decoded);
        }
        return busy;
    }

    Job first_job(const BusyGroup& group, const Weight& weight, const Tensor& bias, float* out) const {
        Job job = job_of(weight, op_.x, op_.out);
        job.out = out;
        job.bias = bias_at(bias);
        job.count = static_cast<int32_t>(group.rows);
        if (!group.group->all_rows()) {
            job.x_rows = ints_at(group.group->rows);
            job.x_rows_stride = static_cast<int32_t>(group.group->rows.row_stride);
        }
        return job;
    }
    Job gate_job(const BusyGroup& group) const {
        if (!gated()) return up_job(group);
        return first_job(group, group.group->gate, group.group->gate_bias, group.gate);
    }
    Job up_job(const BusyGroup& group) const {
        return first_job(group, group.group->up, group.group->up_bias, group.up);
    }
    Job down_job(const BusyGroup& group) const {
        Job job = job_of(group.group->down, op_.x, op_.out);
        job.x = group.gate;
        job.up = group.up;
        job.bias = bias_at(group.group->down_bias);
        job.count = static_cast<int32_t>(group.rows);
        if (!group.group->all_rows()) {
            job.out_rows = ints_at(group.group->out_rows);
            job.out_rows_stride = static_cast<int32_t>(group.group->out_rows.row_stride);
        }
        return job;
    }

    Product first_product(const Weight& weight) const {
        Product product = product_of(device_, weight);
        product.x_stride = op_.x.row_stride;
        product.out_stride = weight.rows;
        return product;
    }
    Product down_product(const Weight& down) const {
        Product product = product_of(device_, down);
        product.x_stride = down.columns;
        product.out_stride = op_.out.row_stride;
        product.activation = op_.activation.kind;
        product.alpha = op_.activation.alpha;
        product.limit = op_.activation.limit;
        product.up_offset = op_.activation.up_offset;
        return product;
    }

    // Few jobs go with the launch, more by way of a table in the device's memory.
    void give_jobs(Product& product, std::span<const Job> jobs, Job* table) {
        for (const Job& job : jobs) product.most_rows = std::max(product.most_rows, job.count);
        product.job_count = static_cast<int32_t>(jobs.size());
        if (jobs.size() <= Product::kMostJobs) {
            std::ranges::copy(jobs, product.jobs);
            return;
        }
        check(cudaMemcpyAsync(table, jobs.data(), jobs.size_bytes(), cudaMemcpyHostToDevice, device_.stream()),
              "uploading a table of experts");
        product.table = table;
    }

    void run_in_floats(std::span<BusyGroup> groups) {
        const MlpGroup& first = *groups.front().group;
        uint64_t floats = 0;
        const int64_t halves = gated() ? 2 : 1;
        for (const BusyGroup& group : groups) floats += static_cast<uint64_t>(halves * group.rows * first.up.rows);
        const uint64_t table_bytes = 3 * groups.size() * sizeof(Job);
        std::byte* const scratch = device_.scratch(table_bytes + floats * sizeof(float));
        auto* table = reinterpret_cast<Job*>(scratch);
        auto* place = reinterpret_cast<float*>(scratch + table_bytes);
        std::vector<Job> gates, ups, downs;
        const bool one = alike(first_weight(first), first.up);
        for (BusyGroup& group : groups) {
            group.gate = place;
            group.up = place + (halves - 1) * group.rows * first.up.rows;
            place = group.up + group.rows * first.up.rows;
            gates.push_back(gate_job(group));
            if (gated()) (one ? gates : ups).push_back(up_job(group));
            downs.push_back(down_job(group));
        }
        const auto multiply = [&](const WeightFormat& format, Product product, std::span<const Job> jobs) {
            give_jobs(product, jobs, table);
            table += jobs.size();
            device_codec(format).multiply(device_, product);
        };
        multiply(first_weight(first).format, first_product(first_weight(first)), gates);
        if (!one) multiply(first.up.format, first_product(first.up), ups);
        multiply(first.down.format, down_product(first.down), downs);
    }

    void run_on_tensor_cores(std::span<const BusyGroup> groups) {
        const MlpGroup& first = *groups.front().group;
        std::vector<Job> gates_and_ups, downs;
        ExpertProducts experts{.gated = gated(),
                               .gates = first_product(first_weight(first)),
                               .up_weight = device_weight(device_, first.up),
                               .downs = down_product(first.down),
                               .gate_format = first_weight(first).format,
                               .up_format = first.up.format,
                               .down_format = first.down.format};
        for (const BusyGroup& group : groups) {
            gates_and_ups.push_back(gate_job(group));
            downs.push_back(down_job(group));
            experts.most_rows = std::max(experts.most_rows, static_cast<int32_t>(group.rows));
            experts.all_rows += group.rows;
        }
        for (const BusyGroup& group : groups) {
            if (gated()) gates_and_ups.push_back(up_job(group));
        }
        experts.first_samples = gates_and_ups;
        experts.second_samples = downs;
        experts.count = static_cast<int32_t>(groups.size());
        experts.x = floats_at(op_.x);
        experts.x_rows = op_.x.rows;
        const uint64_t bytes = expert_scratch_bytes(experts);
        std::byte* const scratch = device_.scratch(bytes + 3 * groups.size() * sizeof(Job));
        auto* const table = reinterpret_cast<Job*>(scratch + bytes);
        give_jobs(experts.gates, gates_and_ups, table);
        give_jobs(experts.downs, downs, table + gates_and_ups.size());
        multiply_experts(device_, experts, scratch);
    }

    Device& device_;
    const GatedMlp& op_;
};

}  // namespace

void compute(Device& device, const GatedMlp& op) {
    Experts(device, op).run();
}

}  // namespace sluice::cuda
