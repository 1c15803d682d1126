#include "checkpoint/quantization_config.h"

#include <algorithm>
#include <array>
#include <cctype>
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

constexpr int kLargestBlock = FormatParameter::kLargest;

// With a scale for a whole row, or for all: as wide and as high as any matrix.
WeightFormat fp8_of(bool rows_apart) {
    return WeightFormat::fp8_block(rows_apart ? 1 : kLargestBlock, kLargestBlock);
}

WeightFormat read_fp8_block(const JsonFields& fields, std::string_view name) {
    const std::vector<int64_t> block = fields.integers(name);
    const auto possible = [](int64_t size) { return size >= 1 && size <= kLargestBlock; };
    if (block.size() != 2 || !std::all_of(block.begin(), block.end(), possible)) {
        fields.reject(ErrorCode::kUnsupported, name, "FP8 is supported in blocks, such as [128, 128]");
    }
    return WeightFormat::fp8_block(static_cast<int>(block[0]), static_cast<int>(block[1]));
}

void require_e4m3(const JsonFields& fields) {
    const std::string format = fields.string_or("fmt", "e4m3");
    if (format == "e4m3" || format == "float8_e4m3fn") return;
    fields.reject(ErrorCode::kUnsupported, "fmt", "\"{}\" is not supported, only e4m3", format);
}

// `name` where it says that groups of columns need not follow each other. Static ones do, in whatever order they were
// rounded.
std::string_view order_field(const JsonFields& fields, std::string_view name) {
    using nlohmann::json;
    const json order = fields.has(name) ? fields.raw()[std::string(name)] : json(false);
    const bool follows = order == json(false) || order == json("static") || order == json("weight");
    return follows || fields.boolean_or("static_groups", false) ? "" : name;
}

struct NamedForm {
    std::string_view name;
    MatrixForm form;
};

// Of the values that a field may have; the first is what an absent one means.
template <size_t N>
MatrixForm read_form(const JsonFields& fields, std::string_view name, const NamedForm (&known)[N]) {
    std::string value = fields.string_or(name, known[0].name);
    std::ranges::transform(value, value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const auto found = std::ranges::find(known, value, &NamedForm::name);
    if (found != std::end(known)) return found->form;
    fields.reject(ErrorCode::kUnsupported, name, "\"{}\" is not supported, only {}", value, known[0].name);
}

// The one group of weights that compressed-tensors may have here.
JsonFields compressed_weights(const JsonFields& fields) {
    const std::optional<JsonFields> groups = fields.object("config_groups");
    if (!groups || groups->raw().size() != 1) {
        fields.reject(ErrorCode::kUnsupported, "config_groups", "one group of weights is supported");
    }
    const std::string name = groups->raw().begin().key();
    const std::optional<JsonFields> group = groups->object(name);
    const std::optional<JsonFields> weights = group ? group->object("weights") : std::nullopt;
    if (!weights) groups->reject(ErrorCode::kInvalidFile, name, "has no weights");
    return *weights;
}

// Of modules that are left as they are one names attention, or a pattern does.
bool leaves_attention(const JsonFields& fields) {
    const std::vector<std::string> ignored = fields.strings("ignore");
    return std::ranges::any_of(ignored, [](const std::string& each) { return each.find("attn") != std::string::npos; });
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

// Of ModelOpt, whose tensors say the rest.
void require_modelopt(const JsonFields& fields) {
    const std::string algorithm = fields.string_or("quant_algo", "");
    if (algorithm.empty() || algorithm == "FP8" || algorithm == "NVFP4") return;
    fields.reject(ErrorCode::kUnsupported, "quant_algo",
                  "\"{}\" of ModelOpt is not supported; FP8, NVFP4, or a checkpoint in BF16 or one of MLX's formats "
                  "would do",
                  algorithm);
}

}  // namespace

void QuantizationConfig::add_separate(const std::filesystem::path& folder) {
    const std::filesystem::path path = folder / "hf_quant_config.json";
    if (stated_ || !std::filesystem::exists(path)) return;
    const nlohmann::json json = read_json_file(path);
    const std::optional<JsonFields> quantization = JsonFields(json, path.string()).object("quantization");
    if (!quantization || quantization->string_or("quant_algo", "").empty()) return;
    read_published(*quantization);
    label_ = path.string();
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
        if (!other->has("quant_method") && !other->has("quant_algo")) {
            if (!mlx) mlx = other;
        } else if (!mlx || other->string_or("quant_method", "") == "fp8") {
            config.read_published(*other);
        }
    }
    // DeepSeek-V4's experts are of another type than what quantization_config says.
    if (config.fp8_ && top.string_or("expert_dtype", "") == "fp4") config.experts_ = kMxfp4Codec.standard;
    config.stated_ = config.stated_ || mlx;
    if (!mlx) return config;
    config.default_ = read_mlx_format(*mlx);
    for (const auto& [path, value] : mlx->raw().items()) {
        if (value.is_object()) config.overrides_[path] = read_mlx_format(*mlx->object(path));
        if (value.is_boolean()) config.overrides_[path] = value.get<bool>() ? config.default_ : std::nullopt;
    }
    return config;
}

void QuantizationConfig::read_published(const JsonFields& fields) {
    stated_ = true;
    const std::string method = fields.string_or("quant_method", "modelopt");
    if (method == "fp8") {
        require_e4m3(fields);
        if (fields.has("weight_block_size")) fp8_ = read_fp8_block(fields, "weight_block_size");
        linears_ = experts_ = fp8_ ? fp8_ : fp8_of(false);
        for (const std::string& module : fields.strings("modules_to_not_convert")) overrides_[module] = std::nullopt;
    } else if (method == kMxfp4Codec.name) {
        experts_ = kMxfp4Codec.standard;
    } else if (method == "compressed-tensors") {
        read_compressed_tensors(fields);
    } else if (method == "awq") {
        static constexpr NamedForm kForms[] = {{"gemm", MatrixForm::kAwq}};
        if (!fields.boolean_or("zero_point", true)) {
            fields.reject(ErrorCode::kUnsupported, "zero_point", "only AWQ with zero points is supported");
        }
        read_integers(fields, {.form = read_form(fields, "version", kForms)});
        linears_ = experts_;
    } else if (method == "gptq") {
        static constexpr NamedForm kForms[] = {{"gptq", MatrixForm::kGptq}, {"gptq_v2", MatrixForm::kGptq2}};
        read_integers(fields, {.form = read_form(fields, "checkpoint_format", kForms),
                               .order_field = order_field(fields, "desc_act")});
        linears_ = experts_;
    } else if (method == "modelopt") {
        require_modelopt(fields);
        const bool fp4 = fields.string_or("quant_algo", "") == "NVFP4";
        linears_ = experts_ = fp4 ? kScaledNvfp4BlockCodec.standard : fp8_of(false);
    } else {
        fields.reject(ErrorCode::kUnsupported, "quant_method",
                      "\"{}\" is not supported, only fp8, mxfp4, compressed-tensors, awq, gptq, modelopt and MLX's "
                      "formats",
                      method);
    }
}

void QuantizationConfig::read_integers(const JsonFields& fields, IntegerWeights integers) {
    const std::string_view bits = fields.has("num_bits") ? "num_bits" : "bits";
    integers.bits = static_cast<int>(fields.integer(bits, 1, 32));
    integers.group_size = static_cast<int>(fields.integer("group_size", -1, 1 << 20));
    const bool possible = integers.bits == 4 || (integers.bits == 8 && integers.form != MatrixForm::kAwq);
    const WeightFormat format = WeightFormat::affine(integers.bits, integers.group_size, DType::kBF16);
    if (!possible || !format.supported()) {
        fields.reject(ErrorCode::kUnsupported, bits,
                      "{} in groups of {} is not supported: 4 bits in groups of 32, 64 or 128 are, and 8 but in AWQ",
                      integers.bits, integers.group_size);
    }
    integers_ = integers;
    experts_ = format;
    if (integers.form != MatrixForm::kSymmetric) experts_->dtype = DType::kF32;
}

void QuantizationConfig::read_compressed_tensors(const JsonFields& fields) {
    const std::string format = fields.string_or("format", "pack-quantized");
    const JsonFields weights = compressed_weights(fields);
    const std::string strategy = weights.string_or("strategy", "");
    if (format == "pack-quantized") {
        require_equal(weights, "type", "int");
        require_equal(weights, "strategy", "group");
        const bool symmetric = weights.boolean_or("symmetric", true);
        read_integers(weights, {.form = symmetric ? MatrixForm::kSymmetric : MatrixForm::kAsymmetric,
                                .order_field = order_field(weights, "actorder")});
    } else if (format == "float-quantized") {
        require_equal(weights, "type", "float");
        if (strategy == "block") fp8_ = read_fp8_block(weights, "block_structure");
        experts_ = fp8_ ? fp8_ : fp8_of(strategy == "channel");
    } else if (format == "nvfp4-pack-quantized") {
        experts_ = kScaledNvfp4BlockCodec.standard;
    } else if (format == "mxfp4-pack-quantized") {
        experts_ = kMxfp4Codec.standard;
    } else {
        fields.reject(ErrorCode::kUnsupported, "format",
                      "\"{}\" is not supported, only pack-quantized, float-quantized, nvfp4-pack-quantized and "
                      "mxfp4-pack-quantized",
                      format);
    }
    if (!leaves_attention(fields)) linears_ = experts_;
}

QuantizationConfig QuantizationConfig::of_formats(const WeightFormat& others,
                                                  const std::map<std::string, WeightFormat>& modules) {
    QuantizationConfig config;
    config.default_ = others;
    config.stated_ = true;
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
    std::optional<WeightFormat> format = default_ ? default_ : linears_;
    for (const auto& [path, stated] : overrides_) {
        if (is_module(path)) format = stated;
    }
    // Publishers leave these alone.
    for (const char* kept : {"embed_tokens", "lm_head", "mlp.gate", "mlp.shared_expert_gate", "router", "embed", "head",
                             "ffn.gate", "compressor.wkv", "compressor.wgate", "weights_proj"}) {
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

IntegerWeights QuantizationConfig::integers(const std::string& tensor) const {
    if (!integers_) {
        fail(ErrorCode::kInvalidFile,
             "{}: tensor {} is packed in I32, but there is no quantization_config with quant_method awq, gptq or "
             "compressed-tensors",
             label_, tensor);
    }
    return *integers_;
}

WeightFormat QuantizationConfig::expected_expert_format(const std::string& module) const {
    return experts_ ? *experts_ : expected_format(module);
}

WeightFormat QuantizationConfig::expected_table_format(const std::string& module, int64_t columns) const {
    std::optional<WeightFormat> format = default_;
    for (const auto& [path, stated] : overrides_) {
        if (path.find(module + ".") != std::string::npos) format = stated;
    }
    if (!format && experts_ && experts_->codec == &kFp8BlockCodec) {
        return WeightFormat::fp8_block(1, static_cast<int>(columns), DType::kBF16);
    }
    if (!format || columns % format->run_columns() != 0) return WeightFormat::floating(DType::kBF16);
    if (format->codec != &kFloatCodec) format->dtype = format->codec->standard.dtype;
    return *format;
}

WeightFormat QuantizationConfig::fp8_format(const std::string& tensor) const {
    if (!fp8_) {
        fail(ErrorCode::kInvalidFile,
             "{}: tensor {} is F8_E4M3, but there is no quantization_config with quant_method fp8 and "
             "weight_block_size",
             label_, tensor);
    }
    return *fp8_;
}

}  // namespace sluice
