#include "tests/backend/queued_backend.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "backend/checks.h"
#include "base/error.h"
#include "base/memory.h"

namespace sluice {

namespace {

constexpr int kPoison = 0xff;

// Runs what it is given, in order, on one thread: a few items now and then, all of them when somebody waits.
class DelayedQueue {
  public:
    explicit DelayedQueue(uint64_t seed) : random_(seed), thread_([this] { work(); }) {}

    ~DelayedQueue() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        thread_.join();
    }

    // The number of the item, for finish() and finished(). Any thread.
    uint64_t submit(std::function<void()> item) {
        const std::lock_guard lock(mutex_);
        items_.push_back(std::move(item));
        wake_.notify_all();
        return ++submitted_;
    }

    uint64_t submitted() const {
        const std::lock_guard lock(mutex_);
        return submitted_;
    }

    bool finished(uint64_t number) const {
        const std::lock_guard lock(mutex_);
        return finished_ >= number;
    }

    void finish(uint64_t number) {
        std::unique_lock lock(mutex_);
        wanted_ = std::max(wanted_, number);
        wake_.notify_all();
        done_.wait(lock, [&] { return finished_ >= number; });
    }

    // The first exception since the last call.
    std::exception_ptr take_failure() {
        const std::lock_guard lock(mutex_);
        return std::exchange(failure_, nullptr);
    }

    bool failed() const {
        const std::lock_guard lock(mutex_);
        return failure_ != nullptr;
    }

  private:
    bool hurried() const { return stopping_ || wanted_ > finished_; }

    void work() {
        std::unique_lock lock(mutex_);
        uint64_t before_pause = 0;
        while (true) {
            wake_.wait(lock, [&] { return stopping_ || !items_.empty(); });
            if (items_.empty()) return;
            if (before_pause == 0) {
                wake_.wait_for(lock, std::chrono::microseconds(random_() % 2000), [&] { return hurried(); });
                before_pause = 1 + random_() % 16;
            }
            --before_pause;
            run_first(lock);
        }
    }

    void run_first(std::unique_lock<std::mutex>& lock) {
        std::function<void()> item = std::move(items_.front());
        items_.pop_front();
        lock.unlock();
        std::exception_ptr failure;
        try {
            item();
        } catch (...) {
            failure = std::current_exception();
        }
        item = nullptr;  // lets go of buffers before anyone hears that the item is done
        lock.lock();
        if (failure_ == nullptr) failure_ = failure;
        ++finished_;
        done_.notify_all();
    }

    mutable std::mutex mutex_;
    std::condition_variable wake_, done_;
    std::deque<std::function<void()>> items_;
    uint64_t submitted_ = 0, finished_ = 0, wanted_ = 0;
    bool stopping_ = false;
    std::exception_ptr failure_;
    std::mt19937_64 random_;
    std::thread thread_;
};

class QueueCompletion final : public Event {
  public:
    QueueCompletion(std::shared_ptr<DelayedQueue> queue, uint64_t number) : queue_(std::move(queue)), number_(number) {}
    bool done() const override { return queue_->finished(number_); }
    void wait() override { queue_->finish(number_); }

  private:
    std::shared_ptr<DelayedQueue> queue_;
    uint64_t number_;
};

// No HostBuffer: nothing outside of this file can reach the bytes.
class QueuedBuffer final : public Buffer {
  public:
    explicit QueuedBuffer(BufferPtr inner) : inner_(std::move(inner)) {}
    uint64_t bytes() const override { return inner_->bytes(); }
    Space space() const override { return Space::kDevice; }
    const BufferPtr& inner() const { return inner_; }

  private:
    BufferPtr inner_;
};

const BufferPtr& inner_buffer(const BufferPtr& buffer) {
    const auto* queued = dynamic_cast<const QueuedBuffer*>(buffer.get());
    if (queued == nullptr) fail(ErrorCode::kUsage, "a buffer is missing or belongs to another backend");
    return queued->inner();
}

// Landing areas of a device: few, beside the slots, and copied by a queue of their own.
class QueuedSlots final : public SlotMemory {
  public:
    QueuedSlots(std::shared_ptr<DelayedQueue> copies, std::shared_ptr<SlotMemory> inner)
        : copies_(std::move(copies)),
          inner_(std::move(inner)),
          last_items_(std::min(kLandings, inner_->slots())),
          memory_(std::make_shared<PageMemory>(last_items_.size() * inner_->slot_bytes())) {
        std::memset(memory_->data(), kPoison, memory_->size());
        for (size_t slot = 0; slot < slots(); ++slot) {
            buffers_.push_back(std::make_shared<QueuedBuffer>(inner_->buffer(slot)));
        }
    }

    size_t slots() const override { return inner_->slots(); }
    size_t slot_bytes() const override { return inner_->slot_bytes(); }
    size_t landings() const override { return last_items_.size(); }
    BufferPtr buffer(size_t slot) const override { return buffers_[slot]; }

    std::byte* land_at(size_t landing, size_t slot) override {
        if (!copies_->finished(last_items_[landing])) {
            fail(ErrorCode::kUsage, "landing {} still feeds a slot: slot {} has to wait for its event", landing, slot);
        }
        return memory_->data() + landing * slot_bytes();
    }

    EventPtr landed(size_t landing, size_t slot) override {
        std::byte* const source = land_at(landing, slot);
        last_items_[landing] = copies_->submit([inner = inner_, memory = memory_, source, slot] {
            std::memcpy(inner->land_at(slot, slot), source, inner->slot_bytes());
            std::memset(source, kPoison, inner->slot_bytes());
        });
        return std::make_shared<QueueCompletion>(copies_, last_items_[landing]);
    }

    void discard(size_t slot) override {
        copies_->submit(
            [inner = inner_, slot] { std::memset(inner->land_at(slot, slot), kPoison, inner->slot_bytes()); });
    }

  private:
    static constexpr size_t kLandings = 4;

    std::shared_ptr<DelayedQueue> copies_;
    std::shared_ptr<SlotMemory> inner_;
    std::vector<uint64_t> last_items_;  // [landings]: of a landing only by the thread that has it
    std::shared_ptr<PageMemory> memory_;
    std::vector<BufferPtr> buffers_;
};

// Replaces the buffers in an operation's fields by those they stand for.
void enter(Tensor& tensor) {
    if (tensor.buffer != nullptr) tensor.buffer = inner_buffer(tensor.buffer);
}

void enter(Weight& weight) {
    for (WeightPart* part : {&weight.data, &weight.scales, &weight.biases}) {
        if (part->buffer != nullptr) part->buffer = inner_buffer(part->buffer);
    }
}

void enter(KvSegment& segment) {
    for (BufferPtr& page : segment.cache.pages) page = inner_buffer(page);
}

void enter(StateSegment& segment) {
    enter(segment.state);
}

void enter(MlpGroup& group) {
    enter(group.gate);
    enter(group.up);
    enter(group.down);
}

template <typename Item>
void enter(std::vector<Item>& items) {
    for (Item& item : items) enter(item);
}

template <typename... Fields>
void enter_all(Fields&... fields) {
    (enter(fields), ...);
}

void enter(Embed& op) {
    enter_all(op.ids, op.table, op.out);
}
void enter(RmsNorm& op) {
    enter_all(op.x, op.weight, op.out);
}
void enter(Linear& op) {
    enter_all(op.x, op.weight, op.out);
}
void enter(Rotary& op) {
    enter_all(op.x, op.positions, op.frequencies);
}
void enter(SplitQueryGate& op) {
    enter_all(op.fused, op.query, op.gate);
}
void enter(AppendKeyValue& op) {
    enter_all(op.keys, op.values, op.segments);
}
void enter(Attention& op) {
    enter_all(op.query, op.segments, op.out);
}
void enter(SigmoidGate& op) {
    enter_all(op.x, op.gate);
}
void enter(SplitLinearProjections& op) {
    enter_all(op.qkvz, op.ba, op.qkv, op.z, op.b, op.a);
}
void enter(CausalConvolution& op) {
    enter_all(op.x, op.weight, op.segments, op.out);
}
void enter(GatedDeltaRule& op) {
    enter_all(op.qkv, op.b, op.a, op.a_log, op.dt_bias, op.segments, op.out);
}
void enter(GatedRmsNorm& op) {
    enter_all(op.x, op.z, op.weight, op.out);
}
void enter(RouteSoftmax& op) {
    enter_all(op.logits, op.ids, op.weights);
}
void enter(RouteGrouped& op) {
    enter_all(op.logits, op.bias, op.ids, op.weights);
}
void enter(GatedMlp& op) {
    enter_all(op.x, op.groups, op.out);
}
void enter(CombineExperts& op) {
    enter_all(op.parts, op.weights, op.out);
}
void enter(AddGated& op) {
    enter_all(op.x, op.gate, op.out);
}
void enter(GatherRows& op) {
    enter_all(op.x, op.out);
}
void enter(AppendLatent& op) {
    enter_all(op.latent, op.rotary_key, op.segments);
}
void enter(FoldQuery& op) {
    enter_all(op.query, op.key, op.out);
}
void enter(LatentAttention& op) {
    enter_all(op.folded, op.query, op.segments, op.out);
}
void enter(AccumulateLatentTile& op) {
    enter_all(op.folded, op.query, op.segments, op.maximum, op.total, op.sum);
}
void enter(FinalizeLatentTiles& op) {
    enter_all(op.sum, op.total, op.out);
}
void enter(ProjectValue& op) {
    enter_all(op.latent, op.value_weight, op.out);
}
void enter(ExpandedLatentAttention& op) {
    enter_all(op.query, op.key, op.value_weight, op.segments, op.out);
}

class QueuedBackend final : public Backend {
  public:
    explicit QueuedBackend(uint64_t seed)
        : queue_(std::make_shared<DelayedQueue>(seed)), copies_(std::make_shared<DelayedQueue>(seed + 1)) {}
    ~QueuedBackend() override { queue_->finish(queue_->submitted()); }

    std::string name() const override { return "queued reference"; }

    BufferPtr allocate(uint64_t bytes) override { return std::make_shared<QueuedBuffer>(inner_->allocate(bytes)); }

    BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) override {
        BufferPtr copy = inner_->allocate(bytes.size());
        queue_->submit([this, copy, bytes, owner = std::move(owner)] { inner_->upload(copy, 0, bytes); });
        return std::make_shared<QueuedBuffer>(std::move(copy));
    }

    std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) override {
        return std::make_unique<QueuedSlots>(copies_, inner_->make_slots(slots, slot_bytes));
    }

    void upload(const BufferPtr& target, uint64_t offset, std::span<const std::byte> source) override {
        OperationCheck("upload").range("target", target, offset, source.size());
        submit([this, target, offset, bytes = std::vector<std::byte>(source.begin(), source.end())] {
            inner_->upload(inner_buffer(target), offset, bytes);
        });
    }

    void download(const BufferPtr& source, uint64_t offset, std::span<std::byte> target) override {
        OperationCheck("download").range("source", source, offset, target.size());
        std::fill(target.begin(), target.end(), static_cast<std::byte>(kPoison));
        auto arrived = std::make_shared<std::vector<std::byte>>(target.size());
        downloads_.push_back({target, arrived});
        submit([this, source, offset, arrived] { inner_->download(inner_buffer(source), offset, *arrived); });
    }

    using Backend::copy;
    void copy(const Region& source, const Region& target) override {
        check_copy(source, target);
        submit([this, source, target] {
            inner_->copy({inner_buffer(source.buffer), source.offset, source.bytes},
                         {inner_buffer(target.buffer), target.offset, target.bytes});
        });
    }

    // Not skipped after a failure, unlike operations: what it waits for comes all the same.
    void after(const EventPtr& event) override {
        if (event) queue_->submit([event] { event->wait(); });
    }

    void wait() override {
        queue_->finish(queue_->submitted());
        const std::vector<Download> downloads = std::exchange(downloads_, {});
        if (const std::exception_ptr failure = queue_->take_failure()) std::rethrow_exception(failure);
        for (const Download& download : downloads) {
            std::copy(download.arrived->begin(), download.arrived->end(), download.target.begin());
        }
    }

    EventPtr mark() override { return std::make_shared<QueueCompletion>(queue_, queue_->submitted()); }

  protected:
    void execute(const Embed& op) override { run_later(op); }
    void execute(const RmsNorm& op) override { run_later(op); }
    void execute(const Linear& op) override { run_later(op); }
    void execute(const Rotary& op) override { run_later(op); }
    void execute(const SplitQueryGate& op) override { run_later(op); }
    void execute(const AppendKeyValue& op) override { run_later(op); }
    void execute(const Attention& op) override { run_later(op); }
    void execute(const SigmoidGate& op) override { run_later(op); }
    void execute(const SplitLinearProjections& op) override { run_later(op); }
    void execute(const CausalConvolution& op) override { run_later(op); }
    void execute(const GatedDeltaRule& op) override { run_later(op); }
    void execute(const GatedRmsNorm& op) override { run_later(op); }
    void execute(const RouteSoftmax& op) override { run_later(op); }
    void execute(const RouteGrouped& op) override { run_later(op); }
    void execute(const GatedMlp& op) override { run_later(op); }
    void execute(const CombineExperts& op) override { run_later(op); }
    void execute(const AddGated& op) override { run_later(op); }
    void execute(const GatherRows& op) override { run_later(op); }
    void execute(const AppendLatent& op) override { run_later(op); }
    void execute(const FoldQuery& op) override { run_later(op); }
    void execute(const LatentAttention& op) override { run_later(op); }
    void execute(const AccumulateLatentTile& op) override { run_later(op); }
    void execute(const FinalizeLatentTiles& op) override { run_later(op); }
    void execute(const ProjectValue& op) override { run_later(op); }
    void execute(const ExpandedLatentAttention& op) override { run_later(op); }

  private:
    struct Download {
        std::span<std::byte> target;
        std::shared_ptr<std::vector<std::byte>> arrived;
    };

    // Unlike landings, operations and transfers stop at a failure until wait() told it.
    template <typename Work>
    void submit(Work work) {
        queue_->submit([this, work = std::move(work)] {
            if (queue_->failed()) return;
            work();
            inner_->wait();
        });
    }

    template <typename Op>
    void run_later(const Op& op) {
        submit([this, op] {
            Op inner_op = op;
            enter(inner_op);
            inner_->run(inner_op);
        });
    }

    std::unique_ptr<Backend> inner_ = make_reference_backend();
    std::shared_ptr<DelayedQueue> queue_, copies_;
    std::vector<Download> downloads_;
};

}  // namespace

std::unique_ptr<Backend> make_queued_backend(uint64_t seed) {
    return std::make_unique<QueuedBackend>(seed);
}

}  // namespace sluice
