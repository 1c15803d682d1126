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
#include <variant>
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
    uint64_t number() const { return number_; }

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

    ~QueuedSlots() override { copies_->finish(copies_->submitted()); }

    size_t slots() const override { return inner_->slots(); }
    size_t slot_bytes() const override { return inner_->slot_bytes(); }
    size_t landings() const override { return last_items_.size(); }
    BufferPtr buffer(size_t slot) const override { return buffers_[slot]; }
    BufferPtr whole() const override { return whole_; }

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

    EventPtr fill(size_t slot, const std::byte* record) override {
        const uint64_t number = copies_->submit(
            [inner = inner_, record, slot] { std::memcpy(inner->land_at(slot, slot), record, inner->slot_bytes()); });
        return std::make_shared<QueueCompletion>(copies_, number);
    }

    void after(const EventPtr& event) override {
        if (event) copies_->submit([event] { event->wait(); });
    }

    EventPtr save(size_t slot, std::byte* record) override {
        const uint64_t number = copies_->submit(
            [inner = inner_, record, slot] { std::memcpy(record, inner->land_at(slot, slot), inner->slot_bytes()); });
        return std::make_shared<QueueCompletion>(copies_, number);
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
    BufferPtr whole_ = std::make_shared<QueuedBuffer>(inner_->whole());
};

// Slots of the host that operations read where they are.
class QueuedHostSlots final : public SlotMemory {
  public:
    explicit QueuedHostSlots(std::unique_ptr<SlotMemory> inner) : inner_(std::move(inner)) {}

    size_t slots() const override { return inner_->slots(); }
    size_t slot_bytes() const override { return inner_->slot_bytes(); }
    size_t landings() const override { return inner_->landings(); }
    std::byte* land_at(size_t landing, size_t slot) override { return inner_->land_at(landing, slot); }
    EventPtr landed(size_t landing, size_t slot) override { return inner_->landed(landing, slot); }
    EventPtr fill(size_t slot, const std::byte* record) override { return inner_->fill(slot, record); }
    EventPtr save(size_t slot, std::byte* record) override { return inner_->save(slot, record); }
    bool reached(size_t) const override { return true; }
    void discard(size_t slot) override { std::memset(inner_->land_at(slot, slot), kPoison, slot_bytes()); }
    BufferPtr buffer(size_t slot) const override { return inner_->buffer(slot); }
    BufferPtr whole() const override { return whole_; }

  private:
    std::unique_ptr<SlotMemory> inner_;
    BufferPtr whole_ = std::make_shared<QueuedBuffer>(inner_->whole());
};

// The same operation over the buffers that its own stand for.
Operation inner_operation(Operation operation) {
    const auto enter = [](BufferPtr& buffer) {
        if (buffer != nullptr) buffer = inner_buffer(buffer);
    };
    std::visit([&](auto& op) { for_each_buffer(op, enter); }, operation);
    return operation;
}

struct QueuedRecording final : Recording {
    std::vector<Operation> operations;
};

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

    std::unique_ptr<SlotMemory> make_host_slots(size_t slots, size_t slot_bytes) override {
        return std::make_unique<QueuedHostSlots>(inner_->make_host_slots(slots, slot_bytes));
    }

    void clear(const Region& region) override {
        OperationCheck("clear").range("region", region.buffer, region.offset, region.bytes);
        submit([this, region] { inner_->clear({inner_buffer(region.buffer), region.offset, region.bytes}); });
    }
    void discard(const Region& region) override {
        const std::vector<std::byte> rubbish(region.bytes, static_cast<std::byte>(kPoison));
        upload(region.buffer, region.offset, rubbish);
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
        submit([this, source, offset, arrived] { inner_->download(inner_buffer(source), offset, *arrived); });
        downloads_.push_back({target, arrived, queue_->submitted()});
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

    void wait() override { wait_for(mark()); }
    void wait_for(const EventPtr& event) override {
        const auto& completion = dynamic_cast<const QueueCompletion&>(*event);
        event->wait();
        std::vector<Download> downloads = std::exchange(downloads_, {});
        const auto later = std::ranges::find_if(
            downloads, [&](const Download& download) { return download.number > completion.number(); });
        downloads_.assign(later, downloads.end());
        downloads.erase(later, downloads.end());
        if (const std::exception_ptr failure = queue_->take_failure()) std::rethrow_exception(failure);
        for (const Download& download : downloads) {
            std::copy(download.arrived->begin(), download.arrived->end(), download.target.begin());
        }
    }

    EventPtr mark() override { return std::make_shared<QueueCompletion>(queue_, queue_->submitted()); }

    bool routes(int64_t) const override { return true; }
    bool reaches() const override { return true; }
    bool records() const override { return true; }
    void begin_recording() override { recorded_ = std::make_shared<QueuedRecording>(); }
    std::shared_ptr<Recording> end_recording() override { return std::exchange(recorded_, nullptr); }
    bool replay(const Recording& recording) override {
        for (const Operation& operation : dynamic_cast<const QueuedRecording&>(recording).operations) {
            execute(operation);
        }
        ++replays_;
        return true;
    }
    uint64_t replays() const { return replays_; }

  protected:
    void execute(const Operation& operation) override {
        if (recorded_ != nullptr) return recorded_->operations.push_back(operation);
        submit([this, operation] { inner_->run(inner_operation(operation)); });
    }

  private:
    struct Download {
        std::span<std::byte> target;
        std::shared_ptr<std::vector<std::byte>> arrived;
        uint64_t number;
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

    std::unique_ptr<Backend> inner_ = make_reference_backend();
    std::shared_ptr<DelayedQueue> queue_, copies_;
    std::vector<Download> downloads_;
    std::shared_ptr<QueuedRecording> recorded_;  // null: operations run
    uint64_t replays_ = 0;
};

}  // namespace

std::unique_ptr<Backend> make_queued_backend(uint64_t seed) {
    return std::make_unique<QueuedBackend>(seed);
}

uint64_t replays_of(const Backend& backend) {
    return dynamic_cast<const QueuedBackend&>(backend).replays();
}

}  // namespace sluice
