// The queued backend computes what the reference computes, and is as strict about the rules as it says.

#include "tests/backend/queued_backend.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "base/memory.h"
#include "tests/backend/op_cases.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

bool all_bytes(std::span<const std::byte> bytes, int value) {
    return std::all_of(bytes.begin(), bytes.end(), [&](std::byte b) { return b == static_cast<std::byte>(value); });
}

std::vector<std::byte> content(Backend& backend, const BufferPtr& buffer) {
    std::vector<std::byte> bytes(buffer->bytes());
    backend.download(buffer, 0, bytes);
    backend.wait();
    return bytes;
}

TEST(QueuedBackend, EveryCaseEqualsTheReferenceBitForBit) {
    const auto queued = make_queued_backend();
    const auto reference = make_reference_backend();
    for (const OpCase& op_case : all_op_cases()) {
        const ErrorStats stats = run_case(op_case, *queued, *reference, 7);
        EXPECT_EQ(stats.max_abs, 0) << op_case.name;
    }
}

TEST(QueuedBackend, DownloadsArriveAtWaitOnly) {
    const auto backend = make_queued_backend();
    const Tensor x = tensor_of(*backend, 1, 4, {1, 2, 3, 4});
    std::vector<std::byte> target(16);
    backend->download(x.buffer, 0, target);
    const auto mark = backend->mark();
    EXPECT_TRUE(all_bytes(target, 0xff));
    mark->wait();
    EXPECT_TRUE(all_bytes(target, 0xff)) << "a completion fills no targets";
    backend->wait();
    EXPECT_EQ(std::memcmp(target.data(), std::vector<float>{1, 2, 3, 4}.data(), 16), 0);
}

TEST(QueuedBackend, UploadsReadTheirSourceBeforeReturning) {
    const auto backend = make_queued_backend();
    const BufferPtr buffer = backend->allocate(64);
    std::vector<std::byte> source(64, std::byte{1});
    backend->upload(buffer, 0, source);
    std::fill(source.begin(), source.end(), std::byte{2});
    EXPECT_TRUE(all_bytes(content(*backend, buffer), 1));
}

TEST(QueuedBackend, AdoptCopiesAndHoldsTheOwnerUntilThen) {
    const auto backend = make_queued_backend();
    auto bytes = std::make_shared<std::vector<std::byte>>(64, std::byte{1});
    const std::weak_ptr<std::vector<std::byte>> watch = bytes;
    const BufferPtr buffer = backend->adopt(*bytes, bytes);
    bytes.reset();
    EXPECT_TRUE(all_bytes(content(*backend, buffer), 1));
    EXPECT_TRUE(watch.expired());
}

TEST(QueuedBackend, MarksTellWhenEarlierWorkIsDone) {
    const auto backend = make_queued_backend();
    std::vector<std::shared_ptr<Event>> marks;
    const Tensor x = tensor_of(*backend, 1, 1, {1});
    for (int i = 0; i < 50; ++i) {
        backend->run(AddGated{.x = tensor_of(*backend, 1, 1, {1}), .gate = {}, .out = x});
        marks.push_back(backend->mark());
    }
    marks[20]->wait();
    for (int i = 0; i <= 20; ++i) EXPECT_TRUE(marks[static_cast<size_t>(i)]->done());
    EXPECT_EQ(read(*backend, x), (std::vector<float>{51}));
    EXPECT_TRUE(marks.back()->done());
    marks.back()->wait();
}

TEST(QueuedBackend, RunsWithoutAnybodyWaiting) {
    const auto backend = make_queued_backend();
    const Tensor x = zeros(*backend, 1, 1);
    for (int i = 0; i < 10; ++i) backend->run(SigmoidGate{.x = x, .gate = zeros(*backend, 1, 1)});
    const auto mark = backend->mark();
    while (!mark->done()) std::this_thread::yield();
}

TEST(QueuedBackend, CompletionsOutliveTheBackend) {
    std::shared_ptr<Event> mark;
    {
        const auto backend = make_queued_backend();
        backend->run(SigmoidGate{.x = zeros(*backend, 9, 9), .gate = zeros(*backend, 9, 9)});
        mark = backend->mark();
    }
    EXPECT_TRUE(mark->done());
    mark->wait();
}

TEST(QueuedBackend, KeepsBuffersAliveUntilTheOperationRan) {
    const auto backend = make_queued_backend();
    const Tensor out = zeros(*backend, 1, 1);
    std::weak_ptr<Buffer> watch;
    {
        const Tensor x = tensor_of(*backend, 1, 1, {3});
        watch = x.buffer;
        backend->run(AddGated{.x = x, .gate = {}, .out = out});
    }
    EXPECT_EQ(read(*backend, out), (std::vector<float>{3}));
    EXPECT_TRUE(watch.expired());
}

TEST(QueuedBackend, FailuresAppearAtWaitAndStopWhatFollows) {
    const auto backend = make_queued_backend();
    const Tensor out = tensor_of(*backend, 1, 1, {5});
    const Embed broken{.ids = ints_of(*backend, {9}), .table = weight_of(*backend, 1, 1, {1}), .out = out};
    std::vector<std::byte> target(4);
    backend->run(broken);
    backend->run(AddGated{.x = tensor_of(*backend, 1, 1, {1}), .gate = {}, .out = out});
    backend->download(out.buffer, 0, target);
    backend->mark()->wait();
    expect_usage_error([&] { backend->wait(); }, {"Embed: ids[0] is 9"});
    EXPECT_TRUE(all_bytes(target, 0xff));
    EXPECT_EQ(read(*backend, out), (std::vector<float>{5}));
}

TEST(QueuedBackend, ChecksBeforeQueueing) {
    const auto backend = make_queued_backend();
    expect_usage_error([&] { backend->run(SigmoidGate{.x = zeros(*backend, 1, 2), .gate = zeros(*backend, 1, 3)}); },
                       {"SigmoidGate: gate"});
    const auto other = make_reference_backend();
    backend->run(SigmoidGate{.x = zeros(*backend, 1, 2), .gate = zeros(*other, 1, 2)});
    expect_usage_error([&] { backend->wait(); }, {"another backend"});
}

// Reads a record of these bytes into the slot.
EventPtr land(SlotMemory& slots, size_t landing, size_t slot, int value) {
    std::fill_n(slots.land_at(landing, slot), slots.slot_bytes(), static_cast<std::byte>(value));
    return slots.landed(landing, slot);
}

TEST(QueuedSlots, HaveFewLandingsAndPoisonThem) {
    const auto backend = make_queued_backend();
    EXPECT_EQ(backend->make_slots(2, kPageBytes)->landings(), 2u);
    const auto slots = backend->make_slots(100, kPageBytes);
    EXPECT_EQ(slots->landings(), 4u);
    std::byte* const landing = slots->land_at(3, 70);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(landing) % kPageBytes, 0u);
    const EventPtr arrived = land(*slots, 3, 70, 3);
    backend->after(arrived);
    EXPECT_TRUE(all_bytes(content(*backend, slots->buffer(70)), 3));
    EXPECT_TRUE(arrived->done());
    EXPECT_TRUE(all_bytes({landing, kPageBytes}, 0xff));
    EXPECT_EQ(slots->land_at(3, 5), landing);
}

TEST(QueuedSlots, RefuseALandingThatStillFeedsASlot) {
    const auto backend = make_queued_backend();
    const auto slots = backend->make_slots(8, kPageBytes);
    bool refused = false;
    for (int round = 0; round < 100 && !refused; ++round) {
        const EventPtr arrived = land(*slots, 0, 0, 1);
        try {
            slots->land_at(0, 1);
        } catch (const Error&) {
            refused = true;
        }
        arrived->wait();
        EXPECT_NO_THROW(slots->land_at(0, 1));
    }
    EXPECT_TRUE(refused);
}

TEST(QueuedSlots, OperationsQueuedBeforeALandingReadTheOldRecord) {
    const auto backend = make_queued_backend();
    const auto slots = backend->make_slots(1, kPageBytes);
    const BufferPtr before = backend->allocate(kPageBytes);
    const BufferPtr after = backend->allocate(kPageBytes);
    EventPtr arrived = land(*slots, 0, 0, 1);
    backend->after(arrived);
    backend->copy(slots->buffer(0), 0, before, 0, kPageBytes);
    backend->mark()->wait();  // as the store waits for a slot's use before it reads into it again
    arrived = land(*slots, 0, 0, 2);
    backend->after(arrived);
    backend->copy(slots->buffer(0), 0, after, 0, kPageBytes);
    EXPECT_TRUE(all_bytes(content(*backend, before), 1));
    EXPECT_TRUE(all_bytes(content(*backend, after), 2));
}

TEST(QueuedSlots, DiscardPoisonsTheSlot) {
    const auto backend = make_queued_backend();
    const auto slots = backend->make_slots(2, kPageBytes);
    land(*slots, 0, 0, 1);
    slots->discard(0);
    backend->after(land(*slots, 1, 1, 1));  // later in the same queue
    EXPECT_TRUE(all_bytes(content(*backend, slots->buffer(0)), 0xff));
}

TEST(QueuedSlots, RecordsLandDespiteAFailedOperation) {
    const auto backend = make_queued_backend();
    const auto slots = backend->make_slots(1, kPageBytes);
    backend->run(
        Embed{.ids = ints_of(*backend, {9}), .table = weight_of(*backend, 1, 1, {1}), .out = zeros(*backend, 1, 1)});
    backend->after(land(*slots, 0, 0, 1));
    EXPECT_THROW(backend->wait(), Error);
    EXPECT_TRUE(all_bytes(content(*backend, slots->buffer(0)), 1));
}

TEST(QueuedSlots, LandFromManyThreadsWhileOperationsRun) {
    constexpr size_t kSlots = 8;
    constexpr int kRounds = 20;
    const auto backend = make_queued_backend();
    const auto slots = backend->make_slots(kSlots, kPageBytes);
    std::vector<EventPtr> last(slots->landings());
    std::vector<std::thread> readers;
    for (size_t landing = 0; landing < slots->landings(); ++landing) {
        readers.emplace_back([&, landing] {
            for (int round = 0; round < kRounds; ++round) {
                for (size_t slot = landing; slot < kSlots; slot += slots->landings()) {
                    if (last[landing]) last[landing]->wait();
                    if (round == kRounds / 2) slots->discard(slot);
                    last[landing] = land(*slots, landing, slot, static_cast<int>(slot) * kRounds + round);
                }
            }
        });
    }
    const Tensor x = zeros(*backend, 4, 4);
    for (int i = 0; i < 100; ++i) backend->run(SigmoidGate{.x = x, .gate = zeros(*backend, 4, 4)});
    for (std::thread& reader : readers) reader.join();
    for (const EventPtr& event : last) backend->after(event);
    for (size_t slot = 0; slot < kSlots; ++slot) {
        EXPECT_TRUE(all_bytes(content(*backend, slots->buffer(slot)), static_cast<int>(slot) * kRounds + kRounds - 1));
    }
}

}  // namespace
}  // namespace sluice
