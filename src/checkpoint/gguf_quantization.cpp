#include "checkpoint/gguf_quantization.h"

#include <algorithm>
#include <map>

#include "checkpoint/gguf_names.h"
#include "checkpoint/gguf_types.h"

namespace sluice {

namespace {

WeightFormat format_of(const GgufTensor& tensor, const std::string& label) {
    const GgufTensorType type =
        gguf_tensor_type(tensor.type, fmt::format("{}: tensor {}", label, GgufHeader::printable(tensor.name)));
    return type.codec != nullptr ? type.codec->standard : WeightFormat::floating(type.dtype);
}

// "self_attn.q_proj" of "model.layers.3.self_attn.q_proj.weight".
std::string module_of(const std::string& name) {
    std::string module = name.substr(0, name.rfind(".weight"));
    constexpr std::string_view kLayers = "layers.";
    if (const size_t at = module.find(kLayers); at != std::string::npos) {
        module.erase(0, module.find('.', at + kLayers.size()) + 1);
    }
    return module;
}

}  // namespace

QuantizationConfig gguf_quantization(const GgufHeader& part, const Architecture& architecture) {
    const GgufNames names(architecture);
    std::map<std::string, std::vector<std::pair<WeightFormat, int>>> counted;
    for (const GgufTensor& tensor : part.tensors()) {
        const GgufTensorName name = names.translate(tensor.name);
        const bool matrix = name.shape == GgufShape::kMatrix || name.shape == GgufShape::kHeads;
        if (!matrix || name.factor) continue;
        auto& formats = counted[module_of(name.name)];
        const WeightFormat format = format_of(tensor, part.label());
        const auto same = std::ranges::find(formats, format, &std::pair<WeightFormat, int>::first);
        if (same == formats.end()) {
            formats.emplace_back(format, 1);
        } else {
            ++same->second;
        }
    }
    std::map<std::string, WeightFormat> usual;
    for (const auto& [module, formats] : counted) {
        usual.emplace(module, std::ranges::max_element(formats, {}, &std::pair<WeightFormat, int>::second)->first);
    }
    return QuantizationConfig::of_formats(gguf_file_type_format(part.integer_or("general.file_type", 1)), usual);
}

}  // namespace sluice
