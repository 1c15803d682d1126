#include "experts/hot_list.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/safetensors.h"

namespace sluice {

namespace {

constexpr const char* kFormatKey = "sluice.hot_experts";
constexpr const char* kFormat = "1";
constexpr const char* kFingerprintKey = "fingerprint";
constexpr const char* kChecksumKey = "checksum";

constexpr float kTurnsOfRun = 1024;   // the most that one run counts for,
constexpr float kTurnsOfList = 4096;  // and all that came before it
constexpr float kWholeShare = std::numeric_limits<uint16_t>::max();

std::string checksum(std::span<const std::byte> turns, std::span<const std::byte> shares) {
    return fmt::format("{:016x}", XXH3_64bits(shares.data(), shares.size()) ^
                                      XXH3_64bits_withSeed(turns.data(), turns.size(), shares.size()));
}

void expect(const SafetensorsReader& file, const std::filesystem::path& path, const char* key,
            const std::string& value) {
    const auto& metadata = file.header().metadata;
    const auto found = metadata.find(key);
    if (found != metadata.end() && found->second == value) return;
    fail(ErrorCode::kInvalidFile, "{}: no list of this model's hot experts: {} is {} instead of {}", path.string(), key,
         found == metadata.end() ? "missing" : one_line(found->second), value);
}

void expect(const SafetensorsReader& file, const std::filesystem::path& path, const char* tensor, DType dtype,
            const std::vector<int64_t>& shape) {
    if (file.has(tensor) && file.entry(tensor).dtype == dtype && file.entry(tensor).shape == shape) return;
    fail(ErrorCode::kInvalidFile, "{}: tensor {} is missing or not as this model's layers and experts need it",
         path.string(), tensor);
}

}  // namespace

HotList::HotList(int layers, int experts)
    : experts_(static_cast<size_t>(experts)),
      turns_(static_cast<size_t>(layers), 0.0f),
      uses_(turns_.size() * experts_, 0.0f) {}

void HotList::note(int layer, std::span<const int> experts) {
    const auto at = static_cast<size_t>(layer);
    if (turns_[at] >= 2 * kTurnsOfRun) limit_turns(at, kTurnsOfRun);
    ++turns_[at];
    for (const int expert : experts) ++uses_[first_of(at) + static_cast<size_t>(expert)];
}

void HotList::limit_turns(size_t layer, float most) {
    if (turns_[layer] <= most) return;
    const float factor = most / turns_[layer];
    turns_[layer] = most;
    for (size_t i = first_of(layer); i < first_of(layer + 1); ++i) uses_[i] *= factor;
}

void HotList::add_earlier(const HotList& earlier) {
    for (size_t layer = 0; layer < turns_.size(); ++layer) {
        limit_turns(layer, kTurnsOfRun);
        turns_[layer] += earlier.turns_[layer];
        for (size_t i = first_of(layer); i < first_of(layer + 1); ++i) uses_[i] += earlier.uses_[i];
        limit_turns(layer, kTurnsOfList);
    }
}

bool HotList::empty() const {
    return std::all_of(turns_.begin(), turns_.end(), [](float turns) { return turns == 0; });
}

double HotList::share(ExpertKey key) const {
    const auto layer = static_cast<size_t>(key.layer);
    if (turns_[layer] == 0) return 0;
    return static_cast<double>(uses_[first_of(layer) + static_cast<size_t>(key.expert)]) / turns_[layer];
}

std::vector<ExpertKey> HotList::hottest() const {
    std::vector<ExpertKey> keys;
    for (size_t i = 0; i < uses_.size(); ++i) {
        if (uses_[i] > 0) keys.push_back({static_cast<int>(i / experts_), static_cast<int>(i % experts_)});
    }
    std::stable_sort(keys.begin(), keys.end(),
                     [this](const ExpertKey& a, const ExpertKey& b) { return share(a) > share(b); });
    return keys;
}

void HotList::save(const std::filesystem::path& path, const std::string& fingerprint) const {
    const auto layers = static_cast<int64_t>(turns_.size()), experts = static_cast<int64_t>(experts_);
    std::vector<uint16_t> shares;
    for (size_t i = 0; i < uses_.size(); ++i) {
        const double of_turns = share({static_cast<int>(i / experts_), static_cast<int>(i % experts_)});
        shares.push_back(static_cast<uint16_t>(std::lround(of_turns * kWholeShare)));
    }
    const auto turn_bytes = std::as_bytes(std::span(turns_)), share_bytes = std::as_bytes(std::span(shares));
    SafetensorsWriter writer(
        path, {{"turns", DType::kF32, {layers}}, {"shares", DType::kU16, {layers, experts}}},
        {{kFormatKey, kFormat}, {kFingerprintKey, fingerprint}, {kChecksumKey, checksum(turn_bytes, share_bytes)}}, 8,
        Privacy::kPrivate);
    writer.write("turns", turn_bytes);
    writer.write("shares", share_bytes);
    writer.commit();
}

HotList HotList::load(const std::filesystem::path& path, const std::string& fingerprint, int layers, int experts) {
    const SafetensorsReader file = SafetensorsReader::open(path);
    expect(file, path, kFormatKey, kFormat);
    expect(file, path, kFingerprintKey, fingerprint);
    expect(file, path, "turns", DType::kF32, {layers});
    expect(file, path, "shares", DType::kU16, {layers, experts});
    expect(file, path, kChecksumKey, checksum(file.bytes("turns"), file.bytes("shares")));
    HotList list(layers, experts);
    list.turns_ = file.floats("turns");
    const std::vector<int64_t> shares = file.integers("shares");
    for (size_t i = 0; i < shares.size(); ++i) {
        const float turns = list.turns_[i / list.experts_];
        if (!(turns >= 0 && turns <= kTurnsOfList))
            fail(ErrorCode::kInvalidFile, "{}: turns holds {}, but 0 to {} is allowed", path.string(), turns,
                 kTurnsOfList);
        list.uses_[i] = turns * static_cast<float>(shares[i]) / kWholeShare;
    }
    return list;
}

}  // namespace sluice
