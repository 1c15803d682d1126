#include "model/sequence_state.h"

#include <algorithm>

#include "base/error.h"

namespace sluice {

namespace {

uint64_t tensor_bytes(const Tensor& tensor) {
    return static_cast<uint64_t>(tensor.rows) * static_cast<uint64_t>(tensor.columns) * dtype_bytes(tensor.dtype);
}

int64_t page_count(int64_t tokens) {
    return (tokens + kKvPageTokens - 1) / kKvPageTokens;
}

Tensor copy_tensor(Backend& backend, const Tensor& source) {
    BufferPtr buffer = backend.allocate(tensor_bytes(source));
    backend.copy(source.buffer, source.offset, buffer, 0, tensor_bytes(source));
    return make_tensor(std::move(buffer), source.dtype, source.rows, source.columns);
}

}  // namespace

uint64_t StateSpec::recurrent_bytes() const {
    return static_cast<uint64_t>(convolution_rows * convolution_columns + delta_rows * delta_columns) * sizeof(float);
}

SequenceState::SequenceState(Backend& backend, std::shared_ptr<const std::vector<StateSpec>> specs)
    : backend_(&backend), specs_(std::move(specs)), layers_(specs_->size()) {
    clear();
}

void SequenceState::clear() {
    for (size_t l = 0; l < layers_.size(); ++l) {
        const StateSpec& spec = (*specs_)[l];
        layers_[l].pages.clear();
        if (!spec.recurrent()) continue;
        const auto zeros = [&](int64_t rows, int64_t columns) {
            return make_tensor(backend_->allocate(static_cast<uint64_t>(rows * columns) * sizeof(float)), DType::kF32,
                               rows, columns);
        };
        layers_[l].convolution = zeros(spec.convolution_rows, spec.convolution_columns);
        layers_[l].delta = zeros(spec.delta_rows, spec.delta_columns);
    }
    position_ = 0;
}

bool SequenceState::recurrent() const {
    return std::any_of(specs_->begin(), specs_->end(), [](const StateSpec& spec) { return spec.recurrent(); });
}

uint64_t SequenceState::bytes() const {
    uint64_t total = 0;
    for (size_t l = 0; l < layers_.size(); ++l) {
        total += layers_[l].pages.size() * (*specs_)[l].page_bytes() + (*specs_)[l].recurrent_bytes();
    }
    return total;
}

void SequenceState::prepare_append(int64_t tokens) {
    const int64_t first_written = position_ / kKvPageTokens;
    const int64_t needed = page_count(position_ + tokens);
    for (size_t l = 0; l < layers_.size(); ++l) {
        const uint64_t page_bytes = (*specs_)[l].page_bytes();
        if (page_bytes == 0) continue;
        auto& pages = layers_[l].pages;
        for (auto p = static_cast<size_t>(first_written); p < pages.size(); ++p) {
            if (pages[p].use_count() == 1) continue;
            BufferPtr copy = backend_->allocate(page_bytes);
            backend_->copy(pages[p]->buffer, 0, copy, 0, page_bytes);
            pages[p] = std::make_shared<KvPage>(KvPage{std::move(copy)});
        }
        while (static_cast<int64_t>(pages.size()) < needed) {
            pages.push_back(std::make_shared<KvPage>(KvPage{backend_->allocate(page_bytes)}));
        }
    }
}

SequenceState SequenceState::fork() const {
    SequenceState copy = *this;
    for (LayerState& layer : copy.layers_) {
        if (layer.delta.buffer == nullptr) continue;
        layer.convolution = copy_tensor(*backend_, layer.convolution);
        layer.delta = copy_tensor(*backend_, layer.delta);
    }
    return copy;
}

void SequenceState::truncate(int64_t position) {
    if (position == 0) return clear();
    for (LayerState& layer : layers_) {
        const size_t keep = static_cast<size_t>(page_count(position));
        if (layer.pages.size() > keep) layer.pages.resize(keep);
    }
    position_ = position;
}

KvPages SequenceState::pages(int layer) const {
    KvPages pages{.format = (*specs_)[static_cast<size_t>(layer)].kv_format, .page_tokens = kKvPageTokens, .pages = {}};
    for (const auto& page : layers_[static_cast<size_t>(layer)].pages) pages.pages.push_back(page->buffer);
    return pages;
}

std::vector<std::pair<std::string, uint64_t>> SequenceState::block_sizes(int64_t position) const {
    std::vector<std::pair<std::string, uint64_t>> sizes;
    for (size_t l = 0; l < layers_.size(); ++l) {
        const StateSpec& spec = (*specs_)[l];
        if (spec.kv_bytes_per_token > 0) {
            sizes.emplace_back(fmt::format("layers.{}.kv", l),
                               static_cast<uint64_t>(page_count(position)) * spec.page_bytes());
        }
        if (spec.recurrent()) {
            sizes.emplace_back(fmt::format("layers.{}.convolution", l), tensor_bytes(layers_[l].convolution));
            sizes.emplace_back(fmt::format("layers.{}.delta", l), tensor_bytes(layers_[l].delta));
        }
    }
    return sizes;
}

std::vector<SequenceState::Block> SequenceState::save() const {
    std::vector<Block> blocks;
    for (const auto& [name, bytes] : block_sizes(position_)) blocks.push_back({name, std::vector<std::byte>(bytes)});
    size_t next = 0;
    for (size_t l = 0; l < layers_.size(); ++l) {
        const StateSpec& spec = (*specs_)[l];
        if (spec.kv_bytes_per_token > 0) {
            std::span<std::byte> out = blocks[next++].bytes;
            for (size_t p = 0; p * spec.page_bytes() < out.size(); ++p) {
                backend_->download(layers_[l].pages[p]->buffer, 0,
                                   out.subspan(p * spec.page_bytes(), spec.page_bytes()));
            }
        }
        if (!spec.recurrent()) continue;
        for (const Tensor* tensor : {&layers_[l].convolution, &layers_[l].delta}) {
            backend_->download(tensor->buffer, tensor->offset, blocks[next++].bytes);
        }
    }
    backend_->wait();
    return blocks;
}

void SequenceState::load(int64_t position, const std::vector<Block>& blocks) {
    clear();
    prepare_append(position);
    size_t next = 0;
    for (size_t l = 0; l < layers_.size(); ++l) {
        const StateSpec& spec = (*specs_)[l];
        if (spec.kv_bytes_per_token > 0) {
            const std::span<const std::byte> in = blocks[next++].bytes;
            for (size_t p = 0; p * spec.page_bytes() < in.size(); ++p) {
                backend_->upload(layers_[l].pages[p]->buffer, 0, in.subspan(p * spec.page_bytes(), spec.page_bytes()));
            }
        }
        if (!spec.recurrent()) continue;
        for (const Tensor* tensor : {&layers_[l].convolution, &layers_[l].delta}) {
            backend_->upload(tensor->buffer, tensor->offset, blocks[next++].bytes);
        }
    }
    backend_->wait();
    position_ = position;
}

}  // namespace sluice
