#include "checkpoint/rotary_config.h"

#include <fmt/core.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace sluice {

namespace {

void read_yarn(const JsonFields& settings, int64_t max_positions, RotaryConfig& rotary) {
    rotary.yarn = true;
    rotary.factor = settings.number("factor");
    rotary.beta_fast = settings.number_or("beta_fast", 32.0);
    rotary.beta_slow = settings.number_or("beta_slow", 1.0);
    rotary.mscale = settings.number_or("mscale", 1.0);
    rotary.mscale_all_dim = settings.number_or("mscale_all_dim", 0.0);
    rotary.original_positions =
        settings.integer_or("original_max_position_embeddings", max_positions, 1, int64_t{1} << 40);
    const auto require = [&](bool sensible, std::string_view name, double value, std::string_view what) {
        if (!sensible) settings.reject(ErrorCode::kInvalidFile, name, "{} makes no sense: {}", value, what);
    };
    require(rotary.factor >= 1.0 && rotary.factor <= 1e6, "factor", rotary.factor, "it must be from 1 to 1000000");
    require(rotary.beta_slow > 0.0, "beta_slow", rotary.beta_slow, "it must be above 0");
    // Kimi-K2 publishes both as 1.
    require(rotary.beta_fast >= rotary.beta_slow, "beta_fast", rotary.beta_fast, "it must not be below beta_slow");
    require(rotary.mscale >= 0.0, "mscale", rotary.mscale, "it must not be negative");
    require(rotary.mscale_all_dim >= 0.0, "mscale_all_dim", rotary.mscale_all_dim, "it must not be negative");
    rotary.truncate = settings.boolean_or("truncate", true);
    // Cosine and sine times this: the mscale that gives as much.
    constexpr std::string_view kAttentionFactor = "attention_factor";
    if (settings.has(kAttentionFactor)) {
        const double wanted = settings.number(kAttentionFactor), log = 0.1 * std::log(rotary.factor);
        require(wanted > 0.0, kAttentionFactor, wanted, "it must be above 0");
        require(log > 0.0 || wanted == 1.0, kAttentionFactor, wanted, "factor is 1");
        if (log > 0.0) rotary.mscale = (wanted * (rotary.mscale_all_dim * log + 1) - 1) / log;
    }
}

void read_llama3(const JsonFields& settings, RotaryConfig& rotary) {
    rotary.factor = settings.number("factor");
    rotary.low_frequency_factor = settings.number("low_freq_factor");
    rotary.high_frequency_factor = settings.number("high_freq_factor");
    rotary.original_positions = settings.integer("original_max_position_embeddings", 1, int64_t{1} << 40);
    if (rotary.factor < 1.0 || rotary.factor > 1e6) {
        settings.reject(ErrorCode::kInvalidFile, "factor", "{} makes no sense: it must be from 1 to 1000000",
                        rotary.factor);
    }
    if (rotary.low_frequency_factor <= 0.0 || rotary.high_frequency_factor < rotary.low_frequency_factor) {
        settings.reject(ErrorCode::kInvalidFile, "low_freq_factor",
                        "{} makes no sense: it must be above 0 and not above high_freq_factor, {}",
                        rotary.low_frequency_factor, rotary.high_frequency_factor);
    }
}

void refuse_settings_per_layer_type(const JsonFields& settings) {
    for (const auto& [name, value] : settings.raw().items()) {
        if (value.is_object()) {
            settings.reject(ErrorCode::kUnsupported, "*", "rope settings per layer type are not supported");
        }
    }
}

std::string_view type_field_of(const JsonFields& settings) {
    return settings.has("rope_type") ? "rope_type" : "type";
}

std::string scaling_type(const JsonFields& settings) {
    return settings.string_or(type_field_of(settings), "default");
}

// What both say must be the same.
void require_agreement(const JsonFields& newer, const JsonFields& older) {
    const auto differ = [&](std::string_view name) {
        older.reject(ErrorCode::kInvalidFile, name, "differs from rope_parameters; keep one of the two");
    };
    if (scaling_type(newer) != scaling_type(older)) differ(type_field_of(older));
    for (const auto& [name, value] : older.raw().items()) {
        if (name == "type" || name == "rope_type") continue;
        if (newer.has(name) && newer.raw()[name] != value) differ(name);
        if (!newer.has(name) && name != "rope_theta") differ(name);
    }
}

}  // namespace

std::vector<float> read_frequency_divisors(const JsonFields& fields, int64_t pairs) {
    constexpr std::string_view kName = "rope_frequency_divisors";
    const std::vector<double> divisors = fields.numbers(kName);
    if (!divisors.empty() && divisors.size() != static_cast<size_t>(pairs)) {
        fields.reject(ErrorCode::kInvalidFile, kName, "{} of them, but {} pairs of a head are rotated", divisors.size(),
                      pairs);
    }
    std::vector<float> result;
    for (const double divisor : divisors) {
        if (!(divisor > 0.0) || !std::isfinite(static_cast<float>(divisor))) {
            fields.reject(ErrorCode::kInvalidFile, kName, "{} is not above 0", divisor);
        }
        result.push_back(static_cast<float>(divisor));
    }
    return result;
}

RotaryConfig read_rotary(const JsonFields& fields, int64_t dims, int64_t max_positions) {
    const std::optional<JsonFields> newer = fields.object("rope_parameters");
    const std::optional<JsonFields> older = fields.object("rope_scaling");
    const bool newer_scales = newer && scaling_type(*newer) != "default";
    const bool older_scales = older && scaling_type(*older) != "default";
    if (newer_scales && older_scales) require_agreement(*newer, *older);
    // Model cards say to add rope_scaling to a config.json that has rope_parameters without it.
    const JsonFields& settings = older_scales && !newer_scales ? *older : newer ? *newer : older ? *older : fields;
    RotaryConfig rotary;
    rotary.dims = dims;
    rotary.divisors = read_frequency_divisors(fields, dims / 2);
    const JsonFields& holds_theta = newer && newer->has("rope_theta") ? *newer : fields;
    rotary.theta = holds_theta.number_or("rope_theta", 10000.0);
    if (rotary.theta <= 1.0) {
        holds_theta.reject(ErrorCode::kInvalidFile, "rope_theta", "{} is not above 1", rotary.theta);
    }
    if (!newer && !older) return rotary;
    refuse_settings_per_layer_type(settings);
    const std::string_view type_field = type_field_of(settings);
    const std::string type = scaling_type(settings);
    if (type == "yarn") {
        read_yarn(settings, max_positions, rotary);
    } else if (type == "llama3") {
        read_llama3(settings, rotary);
    } else if (type != "default") {
        settings.reject(ErrorCode::kUnsupported, type_field, "\"{}\" is not supported, only default, llama3 and yarn",
                        type);
    }
    return rotary;
}

RotaryConfig read_partial_rotary(const JsonFields& fields, int64_t head_dim, double default_factor,
                                 int64_t max_positions) {
    const std::optional<JsonFields> newer = fields.object("rope_parameters");
    constexpr std::string_view kName = "partial_rotary_factor";
    const JsonFields& holder = newer && newer->has(kName) ? *newer : fields;
    const double factor = holder.number_or(kName, default_factor);
    const double rotated = static_cast<double>(head_dim) * factor;
    const bool possible = factor > 0.0 && factor <= 1.0;
    const int64_t dims = possible ? static_cast<int64_t>(rotated) : 0;
    if (dims < 2 || dims % 2 != 0) {
        holder.reject(ErrorCode::kInvalidFile, kName, "{} of head_dim {} is not an even number of dims", factor,
                      head_dim);
    }
    return read_rotary(fields, dims, max_positions);
}

RotaryConfig read_rotary_of_layers(const JsonFields& fields, std::string_view layers, int64_t head_dim,
                                   int64_t max_positions) {
    constexpr std::string_view kName = "rope_parameters";
    const std::optional<JsonFields> all = fields.object(kName);
    const std::optional<JsonFields> own = all ? all->object(layers) : std::nullopt;
    if (!own) return read_partial_rotary(fields, head_dim, 1.0, max_positions);
    const nlohmann::json alone = {{kName, own->raw()}};
    return read_partial_rotary(JsonFields(alone, fields.label(), fmt::format("{}.", layers)), head_dim, 1.0,
                               max_positions);
}

}  // namespace sluice
