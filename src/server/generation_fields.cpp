#include "server/generation_fields.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <variant>

#include "sluice/option_table.h"

namespace sluice::server {

namespace {

std::map<int32_t, double> read_bias(const Fields& fields, size_t vocabulary) {
    std::map<int32_t, double> bias;
    const Json* object = fields.object("logit_bias");
    if (object == nullptr) return bias;
    for (const auto& [key, value] : object->items()) {
        int64_t id = -1;
        const auto parsed = std::from_chars(key.data(), key.data() + key.size(), id);
        const bool known = parsed.ec == std::errc() && parsed.ptr == key.data() + key.size() && id >= 0;
        if (!known || static_cast<size_t>(id) >= vocabulary || !value.is_number() ||
            std::abs(value.get<double>()) > 100) {
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

GenerationOptions read_sampling(const Fields& fields, const RequestDefaults& defaults, double highest_temperature) {
    GenerationOptions options;
    options.sampling = defaults.sampling;
    for (const Option<SamplingOptions>& option : kSamplingOptions) {
        if (const auto* real = std::get_if<double SamplingOptions::*>(&option.field)) {
            const bool temperature = *real == &SamplingOptions::temperature;
            const double high = temperature ? std::min(option.high, highest_temperature) : option.high;
            const auto value = fields.number(option.name, option.low, high);
            // The APIs know a share of 0, which leaves the likeliest token as the least share above it does.
            const bool least = value && option.above_low && *value == option.low;
            if (value) options.sampling.*(*real) = least ? std::nextafter(option.low, high) : *value;
        } else if (const auto* whole = std::get_if<int64_t SamplingOptions::*>(&option.field)) {
            constexpr int64_t kAny = std::numeric_limits<int64_t>::max();
            const auto high = option.high == 0 ? kAny : static_cast<int64_t>(option.high);
            const auto value = fields.integer(option.name, static_cast<int64_t>(option.low), high);
            if (value) options.sampling.** whole = *value;
        }
    }
    options.sampling.logit_bias = read_bias(fields, defaults.vocabulary);
    options.sampling.seed = read_seed(fields).value_or(std::random_device{}());
    options.ignore_eos = fields.boolean("ignore_eos").value_or(false);
    return options;
}

int64_t answer_limit(std::optional<int64_t> asked, const AnswerRoom& room) {
    const int64_t left = std::max<int64_t>(1, room.context - room.prompt);
    const int64_t limit = std::min(asked.value_or(left), left);
    return room.server_limit > 0 ? std::min(limit, room.server_limit) : limit;
}

}  // namespace sluice::server
