#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "backend/operations.h"
#include "base/time_profile.h"
#include "device/queue.h"
#include "device/slot_memory.h"
#include "sluice/choices.h"

namespace sluice {

// Operations that were handed over once and can run again, over what the same places hold by then. Keeps their buffers
// alive.
class Recording {
  public:
    virtual ~Recording() = default;
};

// Runs operations, in the order given, perhaps later. Transfers and wait() are the only ways in and out: no host
// pointer into a backend's memory exists outside it. Buffers named by an operation are kept alive until it ran. One
// thread hands over operations; landed() of slots may come from any thread. An operation that cannot run throws at the
// next wait().
class Backend : public Queue {
  public:
    virtual std::string name() const = 0;         // "cpu (AVX-512 VNNI)"
    virtual size_t threads() const { return 1; }  // that compute
    // Calls body(0) to body(count - 1), which throw nothing, on those threads; returns when all are done. For work of
    // the caller's own between operations.
    virtual void spread(size_t count, const std::function<void(size_t)>& body) {
        for (size_t i = 0; i < count; ++i) body(i);
    }

    // What was free of the backend's own memory when it was made; nothing where that is the process's.
    virtual std::optional<uint64_t> own_memory_bytes() const { return std::nullopt; }

    // What is free of it now, for any program. Any thread.
    virtual uint64_t free_memory_bytes() const { return 0; }

    // Whether Linear (but for full_precision) and GatedMlp read a weight of this format sooner in tiles
    // (tensor/row_tiles.h). Where not, they need not read such a weight at all.
    virtual bool reads_tiles(const WeightFormat&) const { return false; }

    // Whether RoutedMlp over so many rows is worth more than asking what a router chose, while all experts of a layer
    // are in the backend's memory.
    virtual bool routes(int64_t rows) const { return (void)rows, false; }

    // Whether RoutedMlp takes experts from slots of make_host_slots() as well, those that are reached().
    virtual bool reaches() const { return false; }

    // Whether operations can be recorded; the rest of this is for such backends. From begin_recording() on operations
    // are checked and kept, none runs; whoever transfers or waits then gets no recording. Null: these cannot be
    // recorded.
    virtual bool records() const { return false; }
    virtual void begin_recording() {}
    virtual std::shared_ptr<Recording> end_recording() { return nullptr; }
    // Queued. False: nothing runs, since what the backend needs beside them has moved; they must be recorded again.
    virtual bool replay(const Recording& recording) { return (void)recording, false; }

    // Zeroed memory. Throws kOutOfMemory.
    virtual BufferPtr allocate(uint64_t bytes) = 0;
    // The same for what is used in parts: where the backend can, only parts that were written take physical memory.
    virtual BufferPtr reserve(uint64_t bytes) { return allocate(bytes); }
    // Constant bytes of the host that live as long as `owner`: used in place where the backend can, else copied.
    virtual BufferPtr adopt(std::span<const std::byte> bytes, std::shared_ptr<const void> owner) = 0;
    virtual std::unique_ptr<SlotMemory> make_slots(size_t slots, size_t slot_bytes) = 0;
    // Slots in memory of the host from which those of make_slots() are filled.
    virtual std::unique_ptr<SlotMemory> make_host_slots(size_t slots, size_t slot_bytes);

    // Queued. The region is zero again; where the backend can, its physical memory is the system's until it is written.
    virtual void clear(const Region& region) = 0;
    // Queued. What the region holds means nothing from now on: its physical memory may likewise go back.
    virtual void discard(const Region& region) { (void)region; }

    // Queued transfers. `source` is read before return; `target` is filled when wait() returns.
    virtual void upload(const BufferPtr& target, uint64_t offset, std::span<const std::byte> source) = 0;
    virtual void download(const BufferPtr& source, uint64_t offset, std::span<std::byte> target) = 0;
    // Until what was handed over before the event was made by mark(): the targets of its downloads are filled then.
    virtual void wait_for(const EventPtr& event) { (void)event, wait(); }
    using Queue::copy;
    void copy(const BufferPtr& source, uint64_t source_offset, const BufferPtr& target, uint64_t target_offset,
              uint64_t bytes) {
        copy(Region{source, source_offset, bytes}, Region{target, target_offset, bytes});
    }

    // Checks the operation (throws kUsage naming it and the field), then hands it over.
    void run(const Operation& operation);

    // Asked now and then inside operations that take long, by the thread that hands them over: where it says false the
    // operation throws kCancelled at the next wait(), and what it wrote means nothing. Empty: nobody is asked.
    virtual void set_go_on(std::function<bool()> go_on) { (void)go_on; }

    // From now on every operation is waited for and its time is added to `profile`, which must live until another one,
    // or null, is set.
    void set_profile(TimeProfile* profile) { profile_ = profile; }

  protected:
    // The operation was checked.
    virtual void execute(const Operation& operation) = 0;
    bool profiled() const { return profile_ != nullptr; }

  private:
    TimeProfile* profile_ = nullptr;
};

// The scalar float32 oracle: one thread, plain loops, nothing quantized on the way.
std::unique_ptr<Backend> make_reference_backend();

struct CpuBackendOptions {
    size_t threads = 0;        // 0: one per physical core
    bool pin_threads = false;  // each but the caller's on a processor of its own
    bool exact = false;        // F32 activations; otherwise int8 per group where weights are quantized
    InstructionSet instruction_set = InstructionSet::kAuto;
};

// Vector kernels and threads. A row's numbers do not depend on the other rows of the batch or on the number of threads.
// Throws kUnsupported for an instruction set that this processor lacks.
std::unique_ptr<Backend> make_cpu_backend(const CpuBackendOptions& options);

}  // namespace sluice
