#include "checkpoint/quantization_config.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "checkpoint/json_fields.h"
#include "tensor/codecs.h"

namespace sluice {

namespace {

// What MLX calls a mode.
constexpr std::array kModes = {&kAffineCodec, &kMxfp4Codec, &kMxfp8Codec, &kNvfp4Codec};

// One entry of MLX's dict, or its default part. A missing mode is affine; what else is missing is as MLX has it.
WeightFormat read_mlx_format(const JsonFields& fields) {
    const std::string mode = fields.string_or("mode", kAffineCodec.name);
    const auto found = std::ranges::find(kModes, mode, &Codec::name);
    if (found == kModes.end()) {
        fields.reject(ErrorCode::kUnsupported, "mode", "\"{}\" is not supported, only affine, mxfp4, mxfp8 and nvfp4",
                      mode);
    }
    WeightFormat format = (*found)->standard;
    const auto bits = static_cast<int>(fields.integer_or("bits", format.bits, 1, 32));
    const auto group = static_cast<int>(fields.integer_or("group_size", format.group_size, 1, 1 << 20));
    if ((*found)->parameters.empty()) {
        if (bits != format.bits) fields.reject(ErrorCode::kInvalidFile, "bits", "{} has {}", mode, format.bits);
        if (group != format.group_size) {
            fields.reject(ErrorCode::kInvalidFile, "group_size", "{} has {}", mode, format.group_size);
        }
        return format;
    }
    format.bits = bits;
    format.group_size = group;
    if (!format.supported()) {
        fields.reject(ErrorCode::kUnsupported, "bits", "{} is not supported: {}", format.describe(),
                      (*found)->choices());
    }
    return format;
}

void require_equal(const JsonFields& fields, std::string_view name, std::string_view only) {
    const std::string value = fields.string_or(name, only);
    if (value != only) fields.reject(ErrorCode::kUnsupported, name, "\"{}\" is not supported, only {}", value, only);
}

WeightFormat read_fp8_format(const JsonFields& fields) {
    const std::string format = fields.string_or("fmt", "e4m3");
    if (format != "e4m3" && format != "float8_e4m3fn") {
        fields.reject(ErrorCode::kUnsupported, "fmt", "\"{}\" is not supported, only e4m3", format);
    }
    const std::vector<int64_t> block = fields.integers("weight_block_size");
    constexpr int64_t kLargestBlock = 1 << 16;
    const auto possible = [](int64_t size) { return size >= 1 && size <= kLargestBlock; };
    if (block.size() != 2 || !std::all_of(block.begin(), block.end(), possible)) {
        fields.reject(ErrorCode::kUnsupported, "weight_block_size", "FP8 is supported in blocks, such as [128, 128]");
    }
    return WeightFormat::fp8_block(static_cast<int>(block[0]), static_cast<int>(block[1]));
}

// Whole numbers in groups along a row, without zero points: what `config_groups` of compressed-tensors may say here.
WeightFormat read_compressed_format(const JsonFields& fields) {
    require_equal(fields, "format", "pack-quantized");
    const std::optional<JsonFields> groups = fields.object("config_groups");
    if (!groups || groups->raw().size() != 1) {
        fields.reject(ErrorCode::kUnsupported, "config_groups", "one group of weights is supported");
    }
    const std::string name = groups->raw().begin().key();
    const std::optional<JsonFields> group = groups->object(name);
    const std::optional<JsonFields> weights = group ? group->object("weights") : std::nullopt;
    if (!weights) groups->reject(ErrorCode::kInvalidFile, name, "has no weights");
    require_equal(*weights, "type", "int");
    require_equal(*weights, "strategy", "group");
    if (weights->has("actorder") && weights->raw()["actorder"] != false) {
        weights->reject(ErrorCode::kUnsupported, "actorder", "columns in another order are not supported");
    }
    if (!weights->boolean_or("symmetric", true)) {
        weights->reject(ErrorCode::kUnsupported, "symmetric", "only codes without zero points are supported");
    }
    const auto bits = static_cast<int>(weights->integer("num_bits", 1, 32));
    const auto size = static_cast<int>(weights->integer("group_size", 1, 1 << 20));
    WeightFormat format = WeightFormat::affine(bits, size, DType::kBF16);
    if ((bits != 4 && bits != 8) || !format.supported()) {
        weights->reject(ErrorCode::kUnsupported, "num_bits",
                        "{} in groups of {} is not supported: 4 or 8 bits in "
                        "groups of 32, 64 or 128 are",
                        bits, size);
    }
    return format;
}

// Publishers put the text model below wrappers, and not always below the same ones in tensors and in settings.
std::string_view without_wrappers(std::string_view path) {
    constexpr std::array<std::string_view, 4> kWrappers = {"model.", "language_model.", "text_model.", "module."};
    while (true) {
        const auto wrapper = std::ranges::find_if(kWrappers, [&](std::string_view w) { return path.starts_with(w); });
        if (wrapper == kWrappers.end()) return path;
        path.remove_prefix(wrapper->size());
    }
}

}  // namespace

void refuse_separate_quantization(const std::filesystem::path& folder, const QuantizationConfig& config) {
    const std::filesystem::path path = folder / "hf_quant_config.json";
    if (!config.empty() || !std::filesystem::exists(path)) return;
    const nlohmann::json json = read_json_file(path);
    const std::optional<JsonFields> quantization = JsonFields(json, path.string()).object("quantization");
    if (!quantization || !quantization->has("quant_algo")) return;
    quantization->reject(
        ErrorCode::kUnsupported, "quant_algo",
        "\"{}\" of ModelOpt is not supported; a checkpoint in BF16, FP8 or one of MLX's formats would do",
        quantization->string_or("quant_algo", ""));
}

QuantizationConfig QuantizationConfig::parse(std::string_view config_text, const std::string& label) {
    const nlohmann::json json = parse_json(config_text, label);
    const JsonFields top(json, label);
    const std::optional<JsonFields> nested = top.object("text_config");
    const auto find = [&](std::string_view name) {
        const std::optional<JsonFields> outer = top.object(name);
        return outer || !nested ? outer : nested->object(name);
    };
    QuantizationConfig config;
    config.label_ = label;
    std::optional<JsonFields> mlx = find("quantization");
    if (const std::optional<JsonFields> other = find("quantization_config")) {
        const std::string method = other->string_or("quant_method", "");
        if (method == "fp8") {
            config.fp8_ = read_fp8_format(*other);
        } else if (method == kMxfp4Codec.name) {
            config.experts_ = kMxfp4Codec.standard;
        } else if (method == "compressed-tensors") {
            config.experts_ = read_compressed_format(*other);
        } else if (method.empty() && !mlx) {
            mlx = other;
        } else if (!mlx) {
            other->reject(ErrorCode::kUnsupported, "quant_method",
                          "\"{}\" is not supported, only fp8, mxfp4, compressed-tensors and MLX's formats", method);
        }
    }
    if (!mlx) return config;
    config.default_ = read_mlx_format(*mlx);
    for (const auto& [path, value] : mlx->raw().items()) {
        if (value.is_object()) config.overrides_[path] = read_mlx_format(*mlx->object(path));
        if (value.is_boolean()) config.overrides_[path] = value.get<bool>() ? config.default_ : std::nullopt;
    }
    return config;
}

QuantizationConfig QuantizationConfig::of_formats(const WeightFormat& others,
                                                  const std::map<std::string, WeightFormat>& modules) {
    QuantizationConfig config;
    config.default_ = others;
    config.overrides_.insert(modules.begin(), modules.end());
    return config;
}

WeightFormat QuantizationConfig::module_format(const std::string& path, DType scale_dtype) const {
    const auto same = [&](const auto& entry) { return without_wrappers(entry.first) == without_wrappers(path); };
    auto found = overrides_.find(path);
    if (found == overrides_.end()) found = std::ranges::find_if(overrides_, same);
    const std::optional<WeightFormat>& stated = found == overrides_.end() ? default_ : found->second;
    if (!stated) {
        fail(ErrorCode::kInvalidFile, "{}: {}.scales exists, but `quantization` {}", label_, path,
             default_ ? "says that this module is not quantized" : "is missing");
    }
    WeightFormat format = *stated;
    if (!format.codec->dtypes.empty()) format.dtype = scale_dtype;
    return format;
}

WeightFormat QuantizationConfig::expected_format(const std::string& module) const {
    const auto is_module = [&](const std::string& path) {
        return path.ends_with(module) && (path.size() == module.size() || path[path.size() - module.size() - 1] == '.');
    };
    std::optional<WeightFormat> format = default_ ? default_ : fp8_;
    for (const auto& [path, stated] : overrides_) {
        if (is_module(path)) format = stated;
    }
    // Publishers of FP8 leave these alone.
    for (const char* kept : {"embed_tokens", "lm_head", "mlp.gate", "mlp.shared_expert_gate"}) {
        if (!default_ && module.ends_with(kept)) format.reset();
    }
    if (!format) return WeightFormat::floating(DType::kBF16);
    if (format->codec != &kFloatCodec) format->dtype = format->codec->standard.dtype;
    return *format;
}

WeightFormat QuantizationConfig::mxfp4_format(const std::string& tensor) const {
    if (!experts_ || experts_->codec != &kMxfp4Codec) {
        fail(ErrorCode::kInvalidFile,
             "{}: tensor {} is in blocks, but there is no quantization_config with quant_method mxfp4", label_, tensor);
    }
    return kMxfp4Codec.standard;
}

WeightFormat QuantizationConfig::symmetric_format(const std::string& tensor) const {
    if (!experts_ || experts_->codec != &kAffineCodec) {
        fail(ErrorCode::kInvalidFile,
             "{}: tensor {} is packed in I32, but there is no quantization_config with quant_method compressed-tensors",
             label_, tensor);
    }
    return *experts_;
}

WeightFormat QuantizationConfig::expected_expert_format(const std::string& module) const {
    return experts_ ? *experts_ : expected_format(module);
}

WeightFormat QuantizationConfig::fp8_format(const std::string& tensor) const {
    if (!fp8_) {
        fail(ErrorCode::kInvalidFile,
             "{}: tensor {} is F8_E4M3, but there is no quantization_config with quant_method fp8", label_, tensor);
    }
    return *fp8_;
}

}  // namespace sluice
