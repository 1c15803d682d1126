// Packing: the plan is made, then each shard is written whole, and config.json, which makes the folder a checkpoint,
// last.

#include <xxhash.h>

#include <algorithm>
#include <map>
#include <memory>

#include "base/error.h"
#include "base/file.h"
#include "base/folder_lock.h"
#include "base/memory.h"
#include "base/size.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/pack.h"
#include "checkpoint/pack_config.h"
#include "checkpoint/pack_encode.h"
#include "checkpoint/pack_metadata.h"
#include "checkpoint/pack_plan.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/safetensors.h"
#include "sluice/pack.h"

namespace sluice {

namespace {

using std::filesystem::path;

constexpr std::string_view kTemporaryMark = ".safetensors.tmp-";

// What an interrupted run may have left: whole shards, and one temporary file.
class Target {
  public:
    Target(const path& folder, const PackSource& source) : folder_(folder), source_(source), lock_(created(folder)) {
        std::error_code error;
        bool any_shard = false;
        std::string other;
        for (const auto& entry : std::filesystem::directory_iterator(folder)) {
            const std::string name = entry.path().filename().string();
            if (name.find(kTemporaryMark) != std::string::npos) {
                std::filesystem::remove(entry.path(), error);
            } else if (name.ends_with(".safetensors")) {
                require_ours(entry.path());
                any_shard = true;
            } else if (other.empty() || name == "config.json") {
                other = name;
            }
        }
        // Shards come first, so that without one nothing here is of a packed model.
        if (!any_shard && !other.empty()) {
            fail(ErrorCode::kUsage, "{}: holds {}; give an empty folder, or one that does not exist", folder.string(),
                 other == "config.json" ? "another model" : other);
        }
    }

    // Whether the shard is there, whole and as planned.
    bool has(const PackShard& shard, const std::vector<SafetensorsWriter::Declaration>& declarations) const {
        const path file = folder_ / shard.file;
        if (!std::filesystem::exists(file)) return false;
        const SafetensorsHeader header = read_safetensors_header(File::open(file));
        const auto same = [](const SafetensorsEntry& entry, const SafetensorsWriter::Declaration& declaration) {
            return entry.name == declaration.name && entry.dtype == declaration.dtype &&
                   entry.shape == declaration.shape;
        };
        return std::ranges::equal(header.tensors, declarations, same);
    }

  private:
    static const path& created(const path& folder) {
        std::error_code error;
        std::filesystem::create_directories(folder, error);
        if (error) fail(ErrorCode::kIo, "{}: {}", folder.string(), error.message());
        return folder;
    }

    void require_ours(const path& file) const {
        const SafetensorsHeader header = read_safetensors_header(File::open(file));
        const PackSource found = read_pack_source(header.metadata);
        if (found.fingerprint != source_.fingerprint) {
            fail(ErrorCode::kUsage, "{}: is not of {}; give an empty folder, or delete this one", file.string(),
                 source_.folder);
        }
        if (found.share != source_.share) {
            fail(ErrorCode::kUsage,
                 "{}: holds share {} of the experts, not {}; use the same `shard`, or another folder", file.string(),
                 found.share.text(), source_.share.text());
        }
        if (found.options != source_.options) {
            fail(ErrorCode::kUsage, "{}: was packed with {}, not with {}; use the same options, or another folder",
                 file.string(), found.options, source_.options);
        }
    }

    path folder_;
    const PackSource& source_;
    FolderLock lock_;  // against another packer, which would take this one's temporary file for a leftover
};

class Packer {
  public:
    Packer(const Checkpoint& checkpoint, const PackPlan& plan, const PackSource& source, const path& target,
           const BytesCallback& progress)
        : checkpoint_(checkpoint),
          plan_(plan),
          source_(source),
          target_(target),
          progress_(progress),
          encoder_(checkpoint) {}

    PackReport run() {
        const Target existing(target_, source_);
        std::vector<bool> finished;
        uint64_t missing = 0;
        for (const PackShard& shard : plan_.shards) {
            finished.push_back(existing.has(shard, shard.declarations()));
            if (!finished.back()) missing += shard.bytes;
        }
        require_space(missing);
        PackReport report{.files = plan_.shards.size(),
                          .bytes = plan_.bytes,
                          .records = plan_.records,
                          .records_reused = 0,
                          .quantization = plan_.summary};
        for (size_t i = 0; i < plan_.shards.size(); ++i) {
            if (finished[i]) {
                for (const PackLayer& layer : plan_.shards[i].layers) report.records_reused += layer.experts.size();
                advance(plan_.shards[i].bytes);
            } else {
                write_shard(plan_.shards[i]);
            }
        }
        finish();
        return report;
    }

  private:
    void advance(uint64_t bytes) {
        done_ += bytes;
        if (progress_ && !progress_(done_, plan_.bytes)) {
            fail(ErrorCode::kCancelled, "{}: packing was cancelled; the same command goes on", target_.string());
        }
    }

    void require_space(uint64_t bytes) const {
        std::error_code error;
        const std::filesystem::space_info space = std::filesystem::space(target_, error);
        if (!error && space.available < bytes) {
            fail(ErrorCode::kIo, "{}: {} are needed and {} are free", target_.string(), format_size(bytes),
                 format_size(space.available));
        }
    }

    void write_shard(const PackShard& shard) {
        const std::string format = metadata_format();
        SafetensorsWriter writer(target_ / shard.file, shard.declarations(), declared_metadata(shard, source_, format),
                                 kPageBytes);
        for (const PackLayer& layer : shard.layers) write_layer(writer, layer);
        TrunkChecksums checksums;
        for (const PackTrunk& unit : shard.trunk) {
            encoder_.encode_trunk(unit,
                                  [&](const std::string& name, std::span<const std::byte> bytes, uint64_t offset) {
                                      writer.write(name, bytes, offset);
                                      checksums.update(name, bytes);
                                      advance(bytes.size());
                                  });
        }
        if (!shard.trunk.empty()) writer.set_metadata(std::string(kTrunkChecksumsKey), checksums.text());
        writer.commit();
    }

    void write_layer(SafetensorsWriter& writer, const PackLayer& layer) {
        const std::string name = packed_experts_name(layer.layer);
        std::vector<uint64_t> checksums;
        encoder_.encode_layer(layer, [&](std::span<const std::byte> record, uint64_t checksum) {
            writer.write(name, record, checksums.size() * record.size());
            checksums.push_back(checksum);
            advance(record.size());
        });
        writer.set_metadata(packed_checksums_key(layer.layer), packed_checksums_text(checksums));
    }

    // "mlx" or "pt", which says whose conventions the trunk follows.
    std::string metadata_format() const {
        if (checkpoint_.layout_name() == kGgufLayout) return "mlx";  // norms are stored as they are used in both
        for (const CheckpointFile& file : checkpoint_.files()) {
            const auto metadata = read_safetensors_header(File::open(file.path)).metadata;
            if (const auto found = metadata.find("format"); found != metadata.end()) return found->second;
        }
        return "pt";
    }

    void finish() {
        if (plan_.shards.size() > 1) {
            write_text_file(target_ / "model.safetensors.index.json", packed_index_text(plan_));
        }
        copy_companion_files(checkpoint_.folder(), target_);
        write_text_file(target_ / "config.json", packed_config_text(checkpoint_.config_text(), plan_));
    }

    const Checkpoint& checkpoint_;
    const PackPlan& plan_;
    const PackSource& source_;
    const path& target_;
    const BytesCallback& progress_;
    PackEncoder encoder_;
    uint64_t done_ = 0;
};

}  // namespace

PackReport pack_in_shards(const path& source, const path& target, const PackOptions& options, uint64_t shard_bytes,
                          const BytesCallback& progress) {
    const std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(source);
    const PackPlan plan = make_pack_plan(*checkpoint, options, shard_bytes);
    std::error_code error;
    if (std::filesystem::equivalent(source, target, error)) {
        fail(ErrorCode::kUsage, "{}: a checkpoint cannot be packed onto itself; give another folder", target.string());
    }
    const PackSource identity = make_pack_source(*checkpoint, options, plan.share);
    return Packer(*checkpoint, plan, identity, target, progress).run();
}

PackReport pack(const path& source, const path& target, const PackOptions& options, const BytesCallback& progress) {
    return pack_in_shards(source, target, options, kPackShardBytes, progress);
}

}  // namespace sluice
