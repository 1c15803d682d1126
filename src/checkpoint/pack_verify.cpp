#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/thread_pool.h"
#include "checkpoint/checkpoint.h"
#include "checkpoint/expert_share.h"
#include "checkpoint/pack_metadata.h"
#include "checkpoint/packed_layout.h"
#include "checkpoint/safetensors.h"
#include "sluice/pack.h"

namespace sluice {

namespace {

constexpr uint64_t kPieceBytes = 32ull << 20;

class Verifier {
  public:
    Verifier(const Checkpoint& checkpoint, const BytesCallback& progress)
        : checkpoint_(checkpoint), progress_(progress), pool_(0) {
        for (const CheckpointFile& file : checkpoint.files()) files_.push_back(File::open(file.path));
    }

    PackReport run() {
        const ModelConfig& config = checkpoint_.config();
        for (int layer = 0; layer < config.layer_count(); ++layer) {
            if (config.mixture_of(layer) != nullptr) verify_layer(layer);
        }
        for (const File& file : files_) verify_trunk(file);
        report_.files = files_.size();
        report_.quantization = checkpoint_.quantization_name();
        return report_;
    }

  private:
    void advance(uint64_t bytes) {
        report_.bytes += bytes;
        const uint64_t total = checkpoint_.expert_bytes() + checkpoint_.trunk_bytes() + checkpoint_.row_table_bytes();
        if (progress_ && !progress_(report_.bytes, total)) {
            fail(ErrorCode::kCancelled, "{}: verifying was cancelled", checkpoint_.folder().string());
        }
    }

    void verify_layer(int layer) {
        const uint64_t bytes = checkpoint_.expert_layout(layer).record_bytes;
        const std::vector<int64_t> experts = checkpoint_.share().held(layer, checkpoint_.config().experts());
        const size_t batch = std::clamp<size_t>(4 * kPieceBytes / bytes, 1, experts.size());
        buffer_.resize(batch * bytes);
        for (size_t first = 0; first < experts.size(); first += batch) {
            const size_t count = std::min(batch, experts.size() - first);
            pool_.parallel_for(count, 1, [&](size_t begin, size_t end) {
                for (size_t i = begin; i < end; ++i) {
                    verify_record(layer, static_cast<int>(experts[first + i]),
                                  std::span(buffer_).subspan(i * bytes, bytes));
                }
            });
            report_.records += count;
            advance(count * bytes);
        }
    }

    void verify_record(int layer, int expert, std::span<std::byte> record) const {
        const std::optional<uint64_t> checksum = checkpoint_.expert_checksum(layer, expert);
        const ByteRange range = checkpoint_.expert_reads(layer, expert).front().source;
        files_[range.file].read_at(range.offset, record);
        if (checksum && record_checksum(record) == *checksum) return;
        fail(ErrorCode::kInvalidFile, "{}: layer {}, expert {}: the record does not have its checksum; pack it again",
             files_[range.file].label(), layer, expert);
    }

    void verify_trunk(const File& file) {
        const SafetensorsHeader header = read_safetensors_header(file);
        const auto text = header.metadata.find(std::string(kTrunkChecksumsKey));
        if (text == header.metadata.end()) return;
        const auto expected = TrunkChecksums::parse(text->second, file.label());
        for (const SafetensorsEntry& entry : header.tensors) {
            const auto checksum = expected.find(entry.name);
            if (checksum == expected.end()) continue;
            TrunkChecksums found;
            buffer_.resize(kPieceBytes);
            for (uint64_t offset = 0; offset < entry.bytes; offset += kPieceBytes) {
                const auto piece = std::span(buffer_).first(std::min(kPieceBytes, entry.bytes - offset));
                file.read_at(entry.offset + offset, piece);
                found.update(entry.name, piece);
                advance(piece.size());
            }
            if (entry.bytes > 0 && found.values().at(entry.name) != checksum->second) {
                fail(ErrorCode::kInvalidFile, "{}: tensor {} does not have its checksum; pack it again", file.label(),
                     entry.name);
            }
        }
    }

    const Checkpoint& checkpoint_;
    const BytesCallback& progress_;
    ThreadPool pool_;
    std::vector<File> files_;
    std::vector<std::byte> buffer_;
    PackReport report_;
};

}  // namespace

PackReport verify_packed(const std::filesystem::path& model, const BytesCallback& progress) {
    const std::shared_ptr<const Checkpoint> checkpoint = Checkpoint::open(model);
    if (!checkpoint->packed()) {
        fail(ErrorCode::kUsage, "{}: is not packed, so there are no checksums; pack it first", model.string());
    }
    return Verifier(*checkpoint, progress).run();
}

}  // namespace sluice
