// Embed, Linear and GatedMlp.

#include <algorithm>
#include <span>

#include "backend/cuda/compute.h"
#include "backend/cuda/float_matrix.h"
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

void add_job(Product& product, const Job& job) {
    product.jobs[product.job_count++] = job;
    product.most_rows = std::max(product.most_rows, job.count);
}

namespace {

// Fewer rows of a batch keep to F32 sums, whose order depends on nothing but the length of x.
constexpr int64_t kMatrixRows = 33;

}  // namespace

bool on_tensor_cores(const Device& device, const WeightFormat& format, int64_t batch_rows) {
    return !device.exact() && batch_rows >= kMatrixRows && device_codec(format).multiply_matrix != nullptr;
}

void run(Device& device, const WeightFormat& format, const Product& product, bool tensor_cores) {
    const DeviceCodec& codec = device_codec(format);
    if (tensor_cores) return codec.multiply_matrix(device, product);
    codec.multiply(device, product);
}

void compute(Device& device, const Embed& op) {
    const RowChoice choice{.ids = ints_at(op.ids), .id_stride = op.ids.row_stride, .count = op.ids.rows};
    device_codec(op.table.format)
        .decode_rows(device, device_weight(device, op.table), choice, floats_at(op.out), op.out.row_stride);
}

void compute(Device& device, const Linear& op) {
    if (op.x.rows == 0) return;
    if (op.full_precision && !device.exact() && op.x.rows >= kMatrixRows) return multiply_floats(device, op);
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
           a.x.rows < kMatrixRows;
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

// A group of GatedMlp and where its gates and ups go, [count, inner] each.
struct PlacedGroup {
    const MlpGroup* group;
    float *gate, *up;
    int64_t rows;
};

// Groups whose matrices are alike, handed over together, as many as a launch takes.
class Experts {
  public:
    Experts(Device& device, const GatedMlp& op) : device_(device), op_(op) {}

    void run() {
        const std::vector<PlacedGroup> groups = placed();
        for (size_t begin = 0; begin < groups.size();) {
            size_t end = begin + 1;
            while (end < groups.size() && together(groups[begin], groups[end])) ++end;
            const auto part = std::span(groups).subspan(begin, end - begin);
            gates_and_ups(part);
            downs(part);
            begin = end;
        }
    }

  private:
    int64_t rows_of(const MlpGroup& group) const { return group.all_rows() ? op_.x.rows : group.rows.rows; }

    // Scratch: a table of jobs for each product that needs one, then gates and ups.
    std::vector<PlacedGroup> placed() {
        std::vector<PlacedGroup> groups;
        uint64_t floats = 0;
        for (const MlpGroup& group : op_.groups) floats += static_cast<uint64_t>(2 * rows_of(group) * group.gate.rows);
        const uint64_t table_bytes = 3 * op_.groups.size() * sizeof(Job);
        std::byte* const scratch = device_.scratch(table_bytes + floats * sizeof(float));
        table_ = reinterpret_cast<Job*>(scratch);
        auto* place = reinterpret_cast<float*>(scratch + table_bytes);
        for (const MlpGroup& group : op_.groups) {
            const int64_t rows = rows_of(group), count = rows * group.gate.rows;
            if (rows == 0) continue;
            groups.push_back({.group = &group, .gate = place, .up = place + count, .rows = rows});
            place += 2 * count;
        }
        return groups;
    }

    // Few jobs go with the launch, more by way of the table.
    void multiply(const WeightFormat& format, Product& product, std::span<const Job> jobs) {
        for (const Job& job : jobs) product.most_rows = std::max(product.most_rows, job.count);
        product.job_count = static_cast<int32_t>(jobs.size());
        if (jobs.size() <= Product::kMostJobs) {
            std::ranges::copy(jobs, product.jobs);
        } else {
            check(cudaMemcpyAsync(table_, jobs.data(), jobs.size_bytes(), cudaMemcpyHostToDevice, device_.stream()),
                  "uploading a table of experts");
            product.table = table_;
            table_ += jobs.size();
        }
        const bool tensor_cores = on_tensor_cores(device_, format, op_.x.rows);
        if (tensor_cores && jobs.front().up != nullptr) activate(device_, product);
        cuda::run(device_, format, product, tensor_cores);
    }

    static bool together(const PlacedGroup& a, const PlacedGroup& b) {
        return alike(a.group->gate, b.group->gate) && alike(a.group->up, b.group->up) &&
               alike(a.group->down, b.group->down);
    }

    Job first_job(const PlacedGroup& group, const Weight& weight, const Tensor& bias, float* out) const {
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

    void gates_and_ups(std::span<const PlacedGroup> groups) {
        const MlpGroup& first = *groups.front().group;
        Product gates = product_of(device_, first.gate), ups = product_of(device_, first.up);
        std::vector<Job> of_gates, of_ups;
        const bool one = alike(first.gate, first.up);
        for (Product* product : {&gates, &ups}) {
            product->x_stride = op_.x.row_stride;
            product->out_stride = first.gate.rows;
        }
        for (const PlacedGroup& group : groups) {
            of_gates.push_back(first_job(group, group.group->gate, group.group->gate_bias, group.gate));
            (one ? of_gates : of_ups).push_back(first_job(group, group.group->up, group.group->up_bias, group.up));
        }
        multiply(first.gate.format, gates, of_gates);
        if (!one) multiply(first.up.format, ups, of_ups);
    }

    void downs(std::span<const PlacedGroup> groups) {
        const Weight& down = groups.front().group->down;
        Product product = product_of(device_, down);
        product.x_stride = down.columns;
        product.out_stride = op_.out.row_stride;
        product.activation = op_.activation.kind;
        product.alpha = op_.activation.alpha;
        product.limit = op_.activation.limit;
        product.up_offset = op_.activation.up_offset;
        std::vector<Job> jobs;
        for (const PlacedGroup& group : groups) {
            Job job = job_of(group.group->down, op_.x, op_.out);
            job.x = group.gate;
            job.up = group.up;
            job.bias = bias_at(group.group->down_bias);
            job.count = static_cast<int32_t>(group.rows);
            if (!group.group->all_rows()) {
                job.out_rows = ints_at(group.group->out_rows);
                job.out_rows_stride = static_cast<int32_t>(group.group->out_rows.row_stride);
            }
            jobs.push_back(job);
        }
        multiply(down.format, product, jobs);
    }

    Device& device_;
    const GatedMlp& op_;
    Job* table_ = nullptr;  // what is left of it
};

}  // namespace

void compute(Device& device, const GatedMlp& op) {
    if (!op.activation.gated()) refuse("GatedMlp on CUDA: there is a gate; `device` cpu has MLPs without, too");
    Experts(device, op).run();
}

}  // namespace sluice::cuda
