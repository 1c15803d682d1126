#pragma once

// Models, memory and readers that the tests of the expert store share.

#include <gtest/gtest.h>

#include <condition_variable>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "base/memory.h"
#include "device/host_buffer.h"
#include "experts/expert_store.h"
#include "tests/support/temporary_folder.h"

namespace sluice::testing {

inline std::unique_ptr<SlotMemory> make_host_slots(size_t slots, size_t slot_bytes) {
    return std::make_unique<HostSlots>(slots, slot_bytes);
}

// Done when somebody says so.
class ManualCompletion final : public Event {
  public:
    bool done() const override {
        const std::scoped_lock lock(mutex_);
        return done_;
    }
    void wait() override {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return done_; });
    }
    void finish() {
        const std::scoped_lock lock(mutex_);
        done_ = true;
        changed_.notify_all();
    }

  private:
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    bool done_ = false;
};

// Tests of the store run a second time with SLUICE_TEST_TIERS set: over slots that are filled as a device's are, with a
// tier of a few slots in the host's memory below.
bool over_host_tier();
std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes);
// Options that have that tier, in such a run.
ExpertStoreOptions tiered(ExpertStoreOptions options, uint64_t host_bytes);

inline constexpr size_t kFewHostSlots = 3;

void fill_random(std::span<std::byte> bytes, std::mt19937_64& random);

// How the experts of a made-up model lie on disk.
struct ModelShape {
    std::vector<uint64_t> record_bytes = {8192, 8192, 8192};  // per layer; 0: no experts
    int experts = 16;
    int top_k = 4;
    int files = 2;
    uint64_t front = 0;  // bytes before the first record of each file: unaligned where not a multiple of 4096
    int parts = 1;       // reads per expert
    bool checksums = false;
};

// Records of random bytes in files, and the same bytes in memory to compare with.
class FileModel {
  public:
    explicit FileModel(const ModelShape& shape, uint64_t seed = 1);

    const ExpertCatalogue& catalogue() const { return catalogue_; }
    const std::vector<std::byte>& record(int layer, int expert) const {
        return records_[static_cast<size_t>(layer)][static_cast<size_t>(expert)];
    }
    uint64_t bytes_of(size_t experts) const { return experts * shape_.record_bytes[0]; }
    // Whether it is exactly the record.
    bool matches(int layer, const HeldExpert& held) const;

  private:
    ModelShape shape_;
    TemporaryFolder folder_;
    ExpertCatalogue catalogue_;
    std::vector<std::vector<std::vector<std::byte>>> records_;
};

// What a FaultyReader may do to a request, each with its probability.
struct Faults {
    double error = 0;        // EIO
    double interrupted = 0;  // EINTR after a part was read
    double short_read = 0;   // "ends at"
    double wrong_byte = 0;   // one bit flips, no error
    double stall = 0;        // it takes stall_seconds
    double delay = 0;        // it takes a millisecond
    double stall_seconds = 0.1;
    uint64_t seed = 7;
    std::vector<std::filesystem::path> files = {};  // for the errors; else by number
};

// Serves requests out of a FileModel's memory from its own threads, in random order, with faults.
class FaultyReader final : public Reader {
  public:
    using Source = std::function<void(const ReadRequest&)>;  // fills destination
    FaultyReader(Source source, const Faults& faults, size_t threads, Completed completed);
    ~FaultyReader() override;
    void submit(std::span<const ReadRequest> requests) override;
    void cancel(uint64_t tag) override;
    std::string name() const override { return "faulty"; }
    bool direct() const override { return false; }

    // No request is started before resume().
    void pause();
    void resume();
    // From now on nothing goes wrong.
    void heal();
    size_t faults() const;

  private:
    enum class Fault { kNone, kError, kInterrupted, kShort, kWrongByte, kStall };

    Fault draw();
    ReadResult serve(const ReadRequest& request, Fault fault, uint64_t place);
    void work();

    Source source_;
    Faults faults_;
    Completed completed_;
    mutable std::mutex mutex_;
    std::condition_variable wake_;
    std::vector<ReadRequest> queue_;
    std::mt19937_64 random_;
    size_t injected_ = 0;
    bool paused_ = false;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

// A source that reads the model's own files.
FaultyReader::Source source_of(const FileModel& model);

// A store whose reader the test can hold back.
struct PausableStore {
    explicit PausableStore(const FileModel& model, size_t slots, const Faults& faults = {}, double stall = 60,
                           When look_ahead = When::kOn) {
        ExpertStoreOptions options;
        options.cache_bytes = model.bytes_of(slots);
        options.policy = EvictionPolicy::kLru;
        options.look_ahead = look_ahead;
        options.stall_seconds_allowed = stall;
        store = std::make_unique<ExpertStore>(model.catalogue(), tiered(options, model.bytes_of(kFewHostSlots)),
                                              make_slots, [&](Reader::Completed completed) {
                                                  auto made = std::make_unique<FaultyReader>(source_of(model), faults,
                                                                                             2, std::move(completed));
                                                  reader = made.get();
                                                  return made;
                                              });
    }
    FaultyReader* reader = nullptr;
    std::unique_ptr<ExpertStore> store;
};

// Three layers of 16 experts, 4 a token, 24 slots.
struct PausedStoreTest : ::testing::Test {
    ExpertCounters counters() const { return store.counters(); }
    void wait_for(uint64_t bytes) const {
        while (store.counters().bytes_read < bytes) std::this_thread::yield();
    }

    const FileModel model{{}};
    PausableStore pausable{model, 24};
    ExpertStore& store = *pausable.store;
    FaultyReader& reader = *pausable.reader;
};

// The ids as a list, for literals.
inline std::vector<int> range(int begin, int end) {
    std::vector<int> ids;
    for (int i = begin; i < end; ++i) ids.push_back(i);
    return ids;
}

// Takes everything a stream has, giving it back at once; returns experts in the order they came, errors left out.
std::vector<int> drain(ExpertStream& stream, const std::function<void(const HeldExpert&)>& visit = {});

// Takes that many, or a few more, and holds them.
std::vector<HeldExpert> take(ExpertStream& stream, size_t count);

}  // namespace sluice::testing
