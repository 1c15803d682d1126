#include <gtest/gtest.h>

#include <cmath>

#include "tests/backend/step_tables.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

using Matrix = std::vector<std::vector<double>>;

struct Inputs {
    int64_t tokens, key_heads, value_heads, key_dim, value_dim;
    std::vector<float> qkv, b, a, a_log, dt_bias, state;

    Inputs(int64_t count, float a_log_shift) : tokens(count), key_heads(2), value_heads(4), key_dim(6), value_dim(5) {
        const auto size = [](int64_t value) { return static_cast<size_t>(value); };
        qkv = random_values(size(tokens * columns()), 1);
        b = random_values(size(tokens * value_heads), 2);
        a = random_values(size(tokens * value_heads), 3);
        a_log = random_values(size(value_heads), 4);
        for (float& value : a_log) value += a_log_shift;
        dt_bias = random_values(size(value_heads), 5);
        state = random_values(size(value_heads * value_dim * key_dim), 6, 0.3f);
    }
    int64_t columns() const { return 2 * key_heads * key_dim + value_heads * value_dim; }
};

struct Outputs {
    std::vector<float> out, state;
};

// Runs the operation over pieces of `step` tokens.
Outputs run_recurrence(const Inputs& in, int64_t step) {
    const auto backend = make_reference_backend();
    const Tensor qkv = tensor_of(*backend, in.tokens, in.columns(), in.qkv);
    const Tensor b = tensor_of(*backend, in.tokens, in.value_heads, in.b);
    const Tensor a = tensor_of(*backend, in.tokens, in.value_heads, in.a);
    const StateSlots states = states_of(*backend, {in.state}, in.value_heads * in.value_dim, in.key_dim);
    const Tensor out = zeros(*backend, in.tokens, in.value_heads * in.value_dim);
    for (int64_t first = 0; first < in.tokens; first += step) {
        const int64_t count = std::min(step, in.tokens - first);
        backend->run(GatedDeltaRule{.qkv = qkv.rows_at(first, count),
                                    .b = b.rows_at(first, count),
                                    .a = a.rows_at(first, count),
                                    .a_log = tensor_of(*backend, 1, in.value_heads, in.a_log),
                                    .dt_bias = tensor_of(*backend, 1, in.value_heads, in.dt_bias),
                                    .key_heads = in.key_heads,
                                    .value_heads = in.value_heads,
                                    .key_dim = in.key_dim,
                                    .value_dim = in.value_dim,
                                    .sequences = sequences_of(*backend, {{.first_row = 0, .count = count}}),
                                    .states = states,
                                    .out = out.rows_at(first, count)});
    }
    return {read(*backend, out), read_state(*backend, states, 0)};
}

std::vector<double> normalized(const float* x, int64_t count, double scale) {
    double squares = 1e-6;
    for (int64_t i = 0; i < count; ++i) squares += static_cast<double>(x[i]) * x[i];
    std::vector<double> result(x, x + count);
    for (double& value : result) value *= scale / std::sqrt(squares);
    return result;
}

double inner(const std::vector<double>& x, const std::vector<double>& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) sum += x[i] * y[i];
    return sum;
}

std::vector<double> times(const Matrix& matrix, const std::vector<double>& x) {
    std::vector<double> result;
    for (const auto& row : matrix) result.push_back(inner(row, x));
    return result;
}

// One value head by the chunkwise formula, all tokens in one chunk: solves (I + A) U = rhs by forward substitution.
void chunkwise_head(const Inputs& in, int64_t h, Outputs& result) {
    const auto tokens = static_cast<size_t>(in.tokens);
    const auto value_dim = static_cast<size_t>(in.value_dim);
    const int64_t key_head = h / (in.value_heads / in.key_heads);
    const int64_t keys = in.key_heads * in.key_dim;
    Matrix q(tokens), k(tokens), v(tokens), u(tokens);
    std::vector<double> log_decay(tokens), beta(tokens);
    double sum = 0;
    for (size_t t = 0; t < tokens; ++t) {
        const float* row = in.qkv.data() + static_cast<int64_t>(t) * in.columns();
        q[t] = normalized(row + key_head * in.key_dim, in.key_dim, 1 / std::sqrt(static_cast<double>(in.key_dim)));
        k[t] = normalized(row + keys + key_head * in.key_dim, in.key_dim, 1);
        const float* values = row + 2 * keys + h * in.value_dim;
        v[t].assign(values, values + in.value_dim);
        const size_t gate = t * static_cast<size_t>(in.value_heads) + static_cast<size_t>(h);
        const double a = static_cast<double>(in.a[gate]) + in.dt_bias[static_cast<size_t>(h)];
        sum -= std::exp(static_cast<double>(in.a_log[static_cast<size_t>(h)])) * std::log1p(std::exp(a));
        log_decay[t] = sum;
        beta[t] = 1 / (1 + std::exp(-static_cast<double>(in.b[gate])));
    }
    Matrix s0(value_dim);
    for (size_t i = 0; i < value_dim; ++i) {
        const float* row = in.state.data() + (static_cast<size_t>(h) * value_dim + i) * static_cast<size_t>(in.key_dim);
        s0[i].assign(row, row + in.key_dim);
    }
    for (size_t i = 0; i < tokens; ++i) {
        const auto memory = times(s0, k[i]);
        const double gamma = std::exp(log_decay[i]);
        u[i].resize(value_dim);
        for (size_t d = 0; d < value_dim; ++d) u[i][d] = beta[i] * (v[i][d] - gamma * memory[d]);
        for (size_t j = 0; j < i; ++j) {
            const double factor = beta[i] * std::exp(log_decay[i] - log_decay[j]) * inner(k[i], k[j]);
            for (size_t d = 0; d < value_dim; ++d) u[i][d] -= factor * u[j][d];
        }
        const auto start = times(s0, q[i]);
        for (size_t d = 0; d < value_dim; ++d) {
            double value = gamma * start[d];
            for (size_t j = 0; j <= i; ++j)
                value += std::exp(log_decay[i] - log_decay[j]) * inner(k[j], q[i]) * u[j][d];
            result.out[(i * static_cast<size_t>(in.value_heads) + static_cast<size_t>(h)) * value_dim + d] =
                static_cast<float>(value);
        }
    }
    for (size_t d = 0; d < value_dim; ++d) {
        for (size_t c = 0; c < static_cast<size_t>(in.key_dim); ++c) {
            double value = std::exp(log_decay.back()) * s0[d][c];
            for (size_t j = 0; j < tokens; ++j) value += std::exp(log_decay.back() - log_decay[j]) * u[j][d] * k[j][c];
            result.state[(static_cast<size_t>(h) * value_dim + d) * static_cast<size_t>(in.key_dim) + c] =
                static_cast<float>(value);
        }
    }
}

TEST(ReferenceDeltaRule, RecurrenceEqualsTheChunkwiseFormula) {
    for (const int64_t tokens : {1, 2, 17, 64}) {
        for (const float shift : {-3.0f, 0.0f, 2.0f}) {
            const Inputs in(tokens, shift);
            Outputs expected{std::vector<float>(static_cast<size_t>(tokens * in.value_heads * in.value_dim)),
                             std::vector<float>(in.state.size())};
            for (int64_t h = 0; h < in.value_heads; ++h) chunkwise_head(in, h, expected);
            const Outputs result = run_recurrence(in, tokens);
            SCOPED_TRACE(testing::Message() << tokens << " tokens, shift " << shift);
            expect_near(result.out, expected.out, 2e-6f);
            expect_near(result.state, expected.state, 2e-6f);
        }
    }
}

TEST(ReferenceDeltaRule, PiecesOfASequenceGiveTheSameBits) {
    const Inputs in(23, -1);
    const Outputs whole = run_recurrence(in, 23);
    for (const int64_t step : {1, 5, 22}) {
        const Outputs pieces = run_recurrence(in, step);
        EXPECT_EQ(pieces.out, whole.out);
        EXPECT_EQ(pieces.state, whole.state);
    }
}

TEST(ReferenceDeltaRule, WritesAndReadsBackOneKey) {
    // With no decay and beta 1, a stored value comes back for its key, scaled by 1 / sqrt(key_dim).
    const auto backend = make_reference_backend();
    const StateSlots states = states_of(*backend, {{0, 0}}, 1, 2);
    const Tensor out = zeros(*backend, 1, 1);
    backend->run(GatedDeltaRule{.qkv = tensor_of(*backend, 1, 5, {3, 4, 6, 8, 7}),
                                .b = tensor_of(*backend, 1, 1, {100}),
                                .a = tensor_of(*backend, 1, 1, {-200}),
                                .a_log = tensor_of(*backend, 1, 1, {0}),
                                .dt_bias = tensor_of(*backend, 1, 1, {0}),
                                .key_heads = 1,
                                .value_heads = 1,
                                .key_dim = 2,
                                .value_dim = 1,
                                .sequences = sequences_of(*backend, {{.first_row = 0, .count = 1}}),
                                .states = states,
                                .out = out});
    expect_near(read(*backend, out), {7 / std::sqrt(2.0f)}, 1e-5f);
    expect_near(read_state(*backend, states, 0), {7 * 0.6f, 7 * 0.8f}, 1e-5f);
}

TEST(ReferenceDeltaRule, LargeStepsForgetWithoutOverflow) {
    Inputs in(3, 0);
    for (float& value : in.dt_bias) value = 1000;
    const Outputs result = run_recurrence(in, 3);
    for (const float value : result.out) EXPECT_TRUE(std::isfinite(value));
    for (const float value : result.state) EXPECT_TRUE(std::isfinite(value));
}

}  // namespace
}  // namespace sluice
