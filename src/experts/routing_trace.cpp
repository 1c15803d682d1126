#include "experts/routing_trace.h"

#include <charconv>
#include <limits>

#include "base/error.h"
#include "checkpoint/safetensors.h"

namespace sluice {

namespace {

int64_t metadata_number(const SafetensorsHeader& header, const char* key, const std::string& label) {
    const auto found = header.metadata.find(key);
    int64_t value = 0;
    if (found != header.metadata.end()) {
        const char* end = found->second.data() + found->second.size();
        if (std::from_chars(found->second.data(), end, value).ptr == end && value > 0 && value <= 1 << 20) return value;
    }
    fail(ErrorCode::kInvalidFile, "{}: not a routing trace: metadata \"{}\" is not a number above 0", label, key);
}

std::vector<int32_t> load_column(const SafetensorsReader& file, const std::string& name, int64_t count, int64_t limit,
                                 const std::string& label) {
    if (!file.has(name)) fail(ErrorCode::kInvalidFile, "{}: not a routing trace: no tensor \"{}\"", label, name);
    const std::vector<int64_t> values = file.integers(name);
    if (static_cast<int64_t>(values.size()) != count) {
        fail(ErrorCode::kInvalidFile, "{}: tensor \"{}\" has {} values instead of {}", label, name, values.size(),
             count);
    }
    std::vector<int32_t> column;
    column.reserve(values.size());
    for (const int64_t value : values) {
        if (value < 0 || value >= limit) {
            fail(ErrorCode::kInvalidFile, "{}: tensor \"{}\" holds {}, but 0 to {} is allowed", label, name, value,
                 limit - 1);
        }
        column.push_back(static_cast<int32_t>(value));
    }
    return column;
}

std::span<const std::byte> bytes_of(const std::vector<int32_t>& values) {
    return std::as_bytes(std::span(values));
}

}  // namespace

RoutingTrace::RoutingTrace(int64_t layers, int64_t experts, int64_t top_k)
    : layers_(layers), experts_(experts), top_k_(top_k) {}

void RoutingTrace::append(int layer, std::span<const int32_t> ids, std::span<const int32_t> positions) {
    if (layer < 0 || layer >= layers_ || ids.size() != positions.size() * static_cast<size_t>(top_k_)) {
        fail(ErrorCode::kUsage, "routing trace of {} layers, top {}: {} ids of {} rows of layer {} do not fit", layers_,
             top_k_, ids.size(), positions.size(), layer);
    }
    for (const int32_t id : ids) {
        if (id < 0 || id >= experts_)
            fail(ErrorCode::kUsage, "routing trace of {} experts: there is no {}", experts_, id);
    }
    const int32_t batch = batch_.empty() ? 0 : batch_.back() + 1;
    experts_chosen_.insert(experts_chosen_.end(), ids.begin(), ids.end());
    position_.insert(position_.end(), positions.begin(), positions.end());
    layer_.resize(position_.size(), layer);
    batch_.resize(position_.size(), batch);
}

std::span<const int32_t> RoutingTrace::chosen(int64_t step) const {
    return std::span(experts_chosen_).subspan(static_cast<size_t>(step * top_k_), static_cast<size_t>(top_k_));
}

void RoutingTrace::save(const std::filesystem::path& path) const {
    const int64_t count = steps();
    SafetensorsWriter writer(
        path,
        {{"experts", DType::kI32, {count, top_k_}},
         {"layer", DType::kI32, {count}},
         {"position", DType::kI32, {count}},
         {"batch", DType::kI32, {count}}},
        {{"layers", std::to_string(layers_)}, {"experts", std::to_string(experts_)}, {"top_k", std::to_string(top_k_)}},
        8, Privacy::kPrivate);
    writer.write("experts", bytes_of(experts_chosen_));
    writer.write("layer", bytes_of(layer_));
    writer.write("position", bytes_of(position_));
    writer.write("batch", bytes_of(batch_));
    writer.commit();
}

RoutingTrace RoutingTrace::load(const std::filesystem::path& path) {
    const std::string label = path.string();
    const SafetensorsReader file = SafetensorsReader::open(path);
    const int64_t layers = metadata_number(file.header(), "layers", label);
    const int64_t experts = metadata_number(file.header(), "experts", label);
    RoutingTrace trace(layers, experts, metadata_number(file.header(), "top_k", label));
    if (!file.has("layer")) fail(ErrorCode::kInvalidFile, "{}: not a routing trace: no tensor \"layer\"", label);
    const auto count = static_cast<int64_t>(file.integers("layer").size());
    constexpr int64_t kAny = std::numeric_limits<int32_t>::max();
    trace.layer_ = load_column(file, "layer", count, trace.layers_, label);
    trace.position_ = load_column(file, "position", count, kAny, label);
    trace.experts_chosen_ = load_column(file, "experts", count * trace.top_k_, trace.experts_, label);
    if (file.has("batch")) {
        trace.batch_ = load_column(file, "batch", count, kAny, label);
    } else {
        for (size_t step = 0; step < trace.layer_.size(); ++step) {
            const bool same = step > 0 && trace.layer_[step] == trace.layer_[step - 1];
            trace.batch_.push_back(step == 0 ? 0 : trace.batch_.back() + (same ? 0 : 1));
        }
    }
    return trace;
}

}  // namespace sluice
