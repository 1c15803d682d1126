#include "synth/synth.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/file.h"
#include "base/size.h"
#include "base/thread_pool.h"
#include "synth/published_shape.h"
#include "synth/synth_fill.h"
#include "synth/synth_presets.h"
#include "synth/synth_tensors.h"

namespace sluice {

namespace {

constexpr uint64_t kShardBytes = 5ull << 30;
constexpr uint64_t kBufferBytes = 32ull << 20;

// A folder that is made beside its target under a temporary name and gets its name when all of it is there.
class NewFolder {
  public:
    explicit NewFolder(const std::filesystem::path& target) : target_(target) {
        std::error_code error;
        if (std::filesystem::exists(target, error) &&
            !(std::filesystem::is_directory(target, error) && std::filesystem::is_empty(target, error))) {
            fail(ErrorCode::kUsage, "{}: exists already; give a folder that does not, or an empty one",
                 target.string());
        }
        std::string name = target.string();
        while (name.size() > 1 && name.back() == '/') name.pop_back();
        target_ = name;
        if (target_.has_parent_path()) std::filesystem::create_directories(target_.parent_path(), error);
        name += ".partial-XXXXXX";
        if (::mkdtemp(name.data()) == nullptr) fail(ErrorCode::kIo, "{}: {}", target.string(), errno_text(errno));
        path_ = name;
        std::filesystem::permissions(path_, std::filesystem::perms(0755), error);
    }
    ~NewFolder() {
        std::error_code error;
        if (!path_.empty()) std::filesystem::remove_all(path_, error);
    }
    NewFolder(const NewFolder&) = delete;
    NewFolder& operator=(const NewFolder&) = delete;

    const std::filesystem::path& path() const { return path_; }

    void commit() {
        std::error_code error;
        std::filesystem::rename(path_, target_, error);
        if (error) fail(ErrorCode::kIo, "{}: {}", target_.string(), error.message());
        path_.clear();
    }

  private:
    std::filesystem::path target_, path_;
};

struct Shard {
    std::string file;
    std::vector<SynthStored> tensors;
};

uint64_t stored_bytes(const SynthStored& stored) {
    return static_cast<uint64_t>(stored.rows) * stored.row_bytes;
}

// On the drive.
uint64_t written_bytes(const SynthStored& stored) {
    return stored.tensor->hole ? 0 : stored_bytes(stored);
}

std::vector<Shard> make_shards(const std::vector<SynthTensor>& tensors, SynthEncoding encoding) {
    std::vector<Shard> shards(1);
    uint64_t filled = 0;
    for (const SynthTensor& tensor : tensors) {
        for (SynthStored& stored : stored_tensors(tensor, encoding)) {
            const uint64_t bytes = stored_bytes(stored);
            if (filled > 0 && filled + bytes > kShardBytes) {
                shards.emplace_back();
                filled = 0;
            }
            filled += bytes;
            shards.back().tensors.push_back(std::move(stored));
        }
    }
    for (size_t i = 0; i < shards.size(); ++i) {
        shards[i].file = shards.size() == 1 ? "model.safetensors"
                                            : fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    }
    return shards;
}

class Generator {
  public:
    Generator(const std::filesystem::path& folder, SynthEncoding encoding, uint64_t seed, uint64_t total,
              const BytesCallback& progress)
        : folder_(folder),
          encoding_(encoding),
          seed_(seed),
          total_(total),
          progress_(progress),
          pool_(0),
          buffer_(kBufferBytes) {}

    void write_shard(const Shard& shard) {
        std::vector<SafetensorsWriter::Declaration> declarations;
        for (const SynthStored& stored : shard.tensors) declarations.push_back(stored.declaration);
        const bool mlx = encoding_ == SynthEncoding::kAffine4 || encoding_ == SynthEncoding::kAffine8;
        SafetensorsWriter writer(folder_ / shard.file, declarations, {{"format", mlx ? "mlx" : "pt"}});
        for (const SynthStored& stored : shard.tensors) write_tensor(writer, stored);
        writer.commit();
    }

  private:
    void write_tensor(SafetensorsWriter& writer, const SynthStored& stored) {
        if (stored.tensor->hole) return writer.leave_hole(stored.declaration.name);
        const int64_t piece = fill_rows(stored);
        const auto piece_bytes = static_cast<uint64_t>(piece) * stored.row_bytes;
        if (piece_bytes > buffer_.size()) buffer_.resize(piece_bytes);
        const int64_t rows_at_once = static_cast<int64_t>(buffer_.size() / piece_bytes) * piece;
        for (int64_t first = 0; first < stored.rows; first += rows_at_once) {
            const int64_t rows = std::min(rows_at_once, stored.rows - first);
            fill_buffer(stored, first, rows, piece);
            const auto bytes = static_cast<uint64_t>(rows) * stored.row_bytes;
            writer.write(stored.declaration.name, std::span(buffer_).first(bytes),
                         static_cast<uint64_t>(first) * stored.row_bytes);
            done_ += bytes;
            if (progress_ && !progress_(done_, total_)) fail(ErrorCode::kCancelled, "synth: cancelled");
        }
    }

    void fill_buffer(const SynthStored& stored, int64_t first, int64_t rows, int64_t piece) {
        const auto pieces = static_cast<size_t>((rows + piece - 1) / piece);
        pool_.parallel_for(pieces, 1, [&](size_t begin, size_t end) {
            for (size_t i = begin; i < end; ++i) {
                const int64_t offset = static_cast<int64_t>(i) * piece;
                const int64_t count = std::min(piece, rows - offset);
                fill(stored, seed_, first + offset, count,
                     std::span(buffer_).subspan(static_cast<uint64_t>(offset) * stored.row_bytes,
                                                static_cast<uint64_t>(count) * stored.row_bytes));
            }
        });
    }

    const std::filesystem::path& folder_;
    SynthEncoding encoding_;
    uint64_t seed_;
    uint64_t total_;
    uint64_t done_ = 0;
    const BytesCallback& progress_;
    ThreadPool pool_;
    std::vector<std::byte> buffer_;
};

void write_index(const std::filesystem::path& folder, const std::vector<Shard>& shards, uint64_t total) {
    nlohmann::ordered_json map = nlohmann::ordered_json::object();
    for (const Shard& shard : shards) {
        for (const SynthStored& stored : shard.tensors) map[stored.declaration.name] = shard.file;
    }
    const nlohmann::ordered_json index = {{"metadata", {{"total_size", total}}}, {"weight_map", map}};
    write_text_file(folder / "model.safetensors.index.json", index.dump(1) + "\n");
}

// The target's file system must hold it all; the nearest folder that exists tells.
void require_space(const std::filesystem::path& target, uint64_t bytes) {
    std::error_code error;
    std::filesystem::path folder = std::filesystem::absolute(target, error);
    while (folder.has_relative_path() && !std::filesystem::exists(folder, error)) folder = folder.parent_path();
    const std::filesystem::space_info space = std::filesystem::space(folder, error);
    if (!error && space.available < bytes) {
        fail(ErrorCode::kIo, "{}: {} are needed and {} are free; fewer `layers` make it smaller", target.string(),
             format_size(bytes), format_size(space.available));
    }
}

SynthEncoding parse_encoding(const std::string& text, const SynthShape& shape) {
    if (text == "affine4") return SynthEncoding::kAffine4;
    if (text == "affine8") return SynthEncoding::kAffine8;
    if (text == "bf16") return SynthEncoding::kBf16;
    const bool fp8 = shape.layout->fp8;
    if (text == "fp8" && fp8) return SynthEncoding::kFp8;
    fail(ErrorCode::kUsage, "quantize \"{}\": {} can be affine4, affine8{}", text, shape.name,
         fp8 ? ", bf16 or fp8" : " or bf16");
}

SynthShape find_shape(const std::string& name) {
    std::string names;
    for (const SynthShape& shape : synth_shapes()) {
        if (shape.name == name) return shape;
        names += (names.empty() ? "" : ", ") + shape.name;
    }
    std::error_code error;
    if (std::filesystem::exists(name, error)) return read_published_shape(name);
    fail(ErrorCode::kUsage, "{}: neither a config.json nor a preset; of those there are {}", name, names);
}

uint64_t shape_bytes(const SynthShape& shape) {
    uint64_t bytes = 0;
    for (const SynthTensor& tensor : synth_tensors(shape, SynthEncoding::kAffine4, 0)) {
        for (const SynthStored& stored : stored_tensors(tensor, SynthEncoding::kAffine4)) bytes += stored_bytes(stored);
    }
    return bytes;
}

void write_config(const std::filesystem::path& folder, const SynthShape& shape, SynthEncoding encoding) {
    write_text_file(folder / "config.json", synth_config_json(shape, encoding));
}

void write_config_alone(const std::filesystem::path& target, const SynthShape& shape, SynthEncoding encoding) {
    NewFolder folder(target);
    write_config(folder.path(), shape, encoding);
    folder.commit();
}

}  // namespace

void synthesize_shape(const std::filesystem::path& target, const SynthShape& shape, SynthEncoding encoding,
                      uint64_t seed, const BytesCallback& progress) {
    const std::vector<SynthTensor> tensors = synth_tensors(shape, encoding, seed);
    const std::vector<Shard> shards = make_shards(tensors, encoding);
    uint64_t total = 0, written = 0;
    for (const Shard& shard : shards) {
        for (const SynthStored& stored : shard.tensors) {
            total += stored_bytes(stored);
            written += written_bytes(stored);
        }
    }
    require_space(target, written);
    NewFolder folder(target);
    Generator generator(folder.path(), encoding, seed, written, progress);
    for (const Shard& shard : shards) generator.write_shard(shard);
    if (shards.size() > 1) write_index(folder.path(), shards, total);
    // No end-of-text token: random text ends when it was told to.
    write_text_file(folder.path() / "generation_config.json", "{\n  \"do_sample\": true,\n  \"temperature\": 1.0\n}\n");
    write_config(folder.path(), shape, encoding);
    folder.commit();
}

std::vector<SynthPreset> synth_presets() {
    std::vector<SynthPreset> presets;
    for (const SynthShape& shape : synth_shapes()) {
        // The later half of the layers: dense ones lead.
        const int64_t layers = shape.config.layer_count(), half = layers / 2;
        const uint64_t later = shape_bytes(shape) - shape_bytes(cut_layers(shape, half));
        presets.push_back({shape.name, shape.description, layers, later / static_cast<uint64_t>(layers - half)});
    }
    return presets;
}

void synthesize(const std::filesystem::path& target, const SynthOptions& options, const BytesCallback& progress) {
    const SynthShape shape = find_shape(options.preset);
    const SynthEncoding encoding = parse_encoding(options.quantize, shape);
    const SynthShape cut = options.layers == 0 ? shape : cut_layers(shape, options.layers);
    if (options.config_only) return write_config_alone(target, cut, encoding);
    synthesize_shape(target, cut, encoding, options.seed, progress);
}

}  // namespace sluice
