#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "backend/host_sequences.h"

namespace sluice {

// How far results are from the reference, the worst of a case's result tensors. NaN, infinite or overrun: infinity.
struct ErrorStats {
    double max_abs = 0;       // largest |difference|
    double max_relative = 0;  // the same over the root mean square of the reference
    double rms_relative = 0;  // root mean square difference over that of the reference
    double mean_abs = 0;      // mean |difference| over the root mean square of the reference
    double mean = 0;          // mean difference over the root mean square of the reference: a bias shows here

    // Keeps the worse of each figure.
    void add(const ErrorStats& other);
};

// What a case computes on one backend. The same seed makes the same inputs on every backend: sizes, strides, offsets
// and numbers are drawn from one sequence.
class CaseContext {
  public:
    CaseContext(Backend& backend, uint64_t seed) : backend_(backend), random_(seed) {}

    Backend& backend() { return backend_; }
    int64_t pick(int64_t lowest, int64_t highest);
    int64_t pick_of(const std::vector<int64_t>& values);
    bool flip() { return pick(0, 1) == 1; }
    float normal();
    std::vector<float> normals(int64_t count, float scale = 1);

    // A matrix inside a larger one, at an odd place, often with other columns beside it.
    Tensor random(int64_t rows, int64_t columns, float scale = 1);
    Tensor filled(const std::vector<float>& values, int64_t rows, int64_t columns);
    Tensor output(int64_t rows, int64_t columns, DType dtype = DType::kF32);  // bytes 0xff: NaN, -1
    Tensor integers(const std::vector<int32_t>& values);
    // Two tensors side by side in one matrix, random.
    std::vector<Tensor> columns_of_one(int64_t rows, const std::vector<int64_t>& columns);
    // Every code that the format has, scaled so that weight rows are of length about one. Unaligned in memory.
    Weight weight(const WeightFormat& format, int64_t rows, int64_t columns) {
        return placed_weight(format, rows, columns, 7);
    }
    // Where backends may read it in whole words.
    Weight aligned_weight(const WeightFormat& format, int64_t rows, int64_t columns) {
        return placed_weight(format, rows, columns, 0);
    }
    BufferPtr bytes(const std::vector<std::byte>& content);

    // Sequences of a batch, with `rows` rows each and positions up to `longest`.
    std::vector<SequenceRows> sequences(int64_t longest);

    void result(const Tensor& tensor);  // F32 or I32; checks that nothing around it was written
    void result(std::vector<float> values);
    std::vector<std::byte> download(const BufferPtr& buffer);
    void keep(BufferPtr buffer) { kept_.push_back(std::move(buffer)); }  // as long as the context

    const std::vector<std::vector<float>>& results() const { return results_; }
    bool overrun() const { return overrun_; }

  private:
    // At up to so many bytes from where memory begins.
    Weight placed_weight(const WeightFormat& format, int64_t rows, int64_t columns, int64_t most_offset);
    Tensor place(int64_t rows, int64_t columns, DType dtype, const std::vector<std::byte>& content);

    Backend& backend_;
    std::mt19937_64 random_;
    std::vector<std::vector<float>> results_;
    std::vector<BufferPtr> kept_;
    bool overrun_ = false;
};

// What a backend may round activations to.
// The last one: to BF16 where the processor multiplies it, else to int8.
enum class Rounding : uint8_t { kNone, kBf16, kInt8, kBf16OrInt8 };
Rounding rounding_of(const WeightFormat& format);  // before they meet such a weight

struct OpCase {
    std::string name;
    Rounding rounding = Rounding::kNone;
    std::function<void(CaseContext&)> compute;
};

ErrorStats run_case(const OpCase& op_case, Backend& tested, Backend& reference, uint64_t seed);

std::vector<OpCase> basic_cases();  // one row at a time, routing
std::vector<OpCase> matmul_cases();
std::vector<OpCase> routed_cases();
std::vector<OpCase> many_row_cases();
std::vector<OpCase> attention_cases();
std::vector<OpCase> linear_attention_cases();
std::vector<OpCase> mla_cases();
std::vector<OpCase> selection_cases();
std::vector<OpCase> gated_stream_cases();
std::vector<OpCase> pooling_cases();
std::vector<OpCase> stream_cases();
// Several operations, recorded where the backend records.
std::vector<OpCase> step_cases(bool recorded);
// What is rounded behind sums in another order: to be held against the same backend alone.
std::vector<OpCase> rounded_step_cases(bool recorded);
std::vector<OpCase> step_expert_cases(bool recorded);
std::vector<OpCase> all_op_cases();
std::vector<OpCase> latent_form_cases();  // of host backends alone: see run_form.h

// Attention of sequences with few new rows, results in pairs: among others, and alone. Likewise experts of rows.
void attend_in_company(CaseContext& context, KvFormat format);
void experts_in_company(CaseContext& context, int64_t rows);

std::vector<WeightFormat> all_weight_formats();
inline constexpr KvFormat kAllKvFormats[] = {KvFormat::kF32, KvFormat::kBF16, KvFormat::kInt8};
// Of each row some tokens of those that it may see, its own or one close before it included: [rows, room].
std::vector<int32_t> random_selection(CaseContext& context, const std::vector<SequenceRows>& sequences, int64_t room);
int64_t total_rows(const std::vector<SequenceRows>& sequences);
// A column count that the format can hold: `groups` of its groups, or a ragged one where it has none.
int64_t columns_for(const WeightFormat& format, int64_t groups);

}  // namespace sluice
