#include "server/generation_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <random>

namespace sluice::server {

namespace {

struct NumberField {
    std::string_view name;
    double SamplingOptions::*member;
    double low, high;
};
constexpr std::array kNumbers = {
    NumberField{"top_p", &SamplingOptions::top_p, 0, 1},
    NumberField{"min_p", &SamplingOptions::min_p, 0, 1},
    NumberField{"presence_penalty", &SamplingOptions::presence_penalty, -2, 2},
    NumberField{"frequency_penalty", &SamplingOptions::frequency_penalty, -2, 2},
    NumberField{"repetition_penalty", &SamplingOptions::repetition_penalty, 1e-3, 1e3},
};

std::map<int32_t, double> read_bias(const Fields& fields, int64_t vocabulary) {
    std::map<int32_t, double> bias;
    const Json* object = fields.object("logit_bias");
    if (object == nullptr) return bias;
    for (const auto& [key, value] : object->items()) {
        int64_t id = -1;
        const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
        const bool known = parsed.ec == std::errc() && parsed.ptr == key.data() + key.size() && id >= 0;
        if (!known || id >= vocabulary || !value.is_number() || std::abs(value.get<double>()) > 100) {
            fields.fail("logit_bias", fmt::format("'{}': a token id below {} and a bias from -100 to 100 are needed",
                                                  key.substr(0, 40), vocabulary));
        }
        bias[static_cast<int32_t>(id)] = value.get<double>();
    }
    return bias;
}

// Any integer, also one beyond 64 bits.
std::optional<uint64_t> read_seed(const Fields& fields) {
    const Json* value = fields.find("seed");
    if (value == nullptr) return {};
    if (value->is_number_unsigned()) return value->get<uint64_t>();
    if (value->is_number_integer()) return static_cast<uint64_t>(value->get<int64_t>());
    if (!value->is_number_float() || std::trunc(value->get<double>()) != value->get<double>()) {
        fields.fail("seed", "must be an integer");
    }
    return std::hash<double>{}(value->get<double>());
}

}  // namespace

GenerationOptions read_sampling(const Fields& fields, const Engine& engine, double highest_temperature) {
    GenerationOptions options;
    SamplingOptions& sampling = options.sampling;
    sampling = engine.defaults().sampling;
    if (const auto value = fields.number("temperature", 0, highest_temperature)) sampling.temperature = *value;
    for (const NumberField& field : kNumbers) {
        if (const auto value = fields.number(field.name, field.low, field.high)) sampling.*field.member = *value;
    }
    if (const auto value = fields.integer("top_k", 0, std::numeric_limits<int32_t>::max())) sampling.top_k = *value;
    sampling.logit_bias = read_bias(fields, static_cast<int64_t>(engine.tokenizer()->vocabulary_size()));
    sampling.seed = read_seed(fields).value_or(std::random_device{}());
    options.ignore_eos = fields.boolean("ignore_eos").value_or(false);
    return options;
}

int64_t answer_limit(std::optional<int64_t> asked, const Engine& engine, size_t prompt_tokens, int64_t server_limit) {
    const int64_t room = std::max<int64_t>(1, engine.info().context - static_cast<int64_t>(prompt_tokens));
    int64_t limit = std::min(asked.value_or(room), room);
    if (server_limit > 0) limit = std::min(limit, server_limit);
    return limit;
}

}  // namespace sluice::server
