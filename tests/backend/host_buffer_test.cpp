#include "backend/host_tensors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>

#include "tests/backend/queued_backend.h"
#include "tests/backend/test_tensors.h"

namespace sluice {
namespace {

TEST(HostBuffer, AllocationIsAlignedAndZeroed) {
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{4097}}) {
        const BufferPtr buffer = HostBuffer::allocate(bytes);
        EXPECT_EQ(buffer->bytes(), bytes);
        const auto content = host_bytes(buffer);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(content.data()) % kPageBytes, 0u);
        EXPECT_TRUE(std::all_of(content.begin(), content.end(), [](std::byte b) { return b == std::byte{0}; }));
    }
}

TEST(HostBuffer, RefusesWhatNoMemoryHolds) {
    for (const uint64_t bytes : {uint64_t{1} << 62, ~uint64_t{0}}) {
        try {
            HostBuffer::allocate(bytes);
            ADD_FAILURE() << bytes;
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
        }
    }
}

TEST(HostBuffer, AdoptsInPlaceAndKeepsTheOwner) {
    auto owner = std::make_shared<std::vector<std::byte>>(10, std::byte{7});
    const std::weak_ptr<std::vector<std::byte>> watch = owner;
    BufferPtr buffer = HostBuffer::adopt(*owner, owner);
    EXPECT_EQ(host_bytes(buffer).data(), owner->data());
    owner.reset();
    EXPECT_FALSE(watch.expired());
    EXPECT_EQ(host_bytes(buffer)[9], std::byte{7});
    expect_usage_error([&] { writable_host_bytes(buffer); }, {"read-only"});
    buffer.reset();
    EXPECT_TRUE(watch.expired());
}

TEST(HostBuffer, AdoptedMemoryIsNotWrittenByOperations) {
    const auto backend = make_reference_backend();
    const std::vector<std::byte> bytes(64, std::byte{1});
    const Tensor adopted = make_tensor(backend->adopt(bytes, nullptr), DType::kF32, 1, 4);
    backend->run(SigmoidGate{.x = adopted, .gate = zeros(*backend, 1, 4)});
    expect_usage_error([&] { backend->wait(); }, {"read-only"});
    backend->upload(adopted.buffer, 0, std::vector<std::byte>(4));
    expect_usage_error([&] { backend->wait(); }, {"read-only"});
    EXPECT_EQ(bytes, std::vector<std::byte>(64, std::byte{1}));
}

TEST(HostBuffer, UnalignedAdoptedTensorsAreRefused) {
    const std::vector<std::byte> bytes(64);
    const auto odd = std::span(bytes).subspan(reinterpret_cast<uintptr_t>(bytes.data()) % 4 == 0 ? 1 : 0);
    const Tensor tensor = make_tensor(HostBuffer::adopt(odd, nullptr), DType::kF32, 1, 4);
    expect_usage_error([&] { floats(tensor); }, {"adopted memory", "multiple of 4"});
}

TEST(HostBuffer, RefusesBuffersOfOtherBackends) {
    const auto other = make_queued_backend();
    const auto backend = make_reference_backend();
    expect_usage_error([&] { host_bytes(other->allocate(4)); }, {"another backend"});
    expect_usage_error([&] { host_bytes(nullptr); }, {"missing"});
    backend->run(SigmoidGate{.x = zeros(*other, 1, 4), .gate = zeros(*backend, 1, 4)});
    expect_usage_error([&] { backend->wait(); }, {"another backend"});
}

TEST(HostBackend, StopsAfterAFailureUntilItWasTold) {
    const auto backend = make_reference_backend();
    const Tensor out = tensor_of(*backend, 1, 1, {5});
    backend->run(Embed{.ids = ints_of(*backend, {9}), .table = weight_of(*backend, 1, 1, {1}), .out = out});
    backend->run(AddGated{.x = tensor_of(*backend, 1, 1, {1}), .gate = {}, .out = out});
    expect_usage_error([&] { backend->wait(); }, {"Embed"});
    EXPECT_EQ(read(*backend, out), (std::vector<float>{5}));
}

TEST(HostBackend, CopiesBetweenPartsOfOneBuffer) {
    const auto backend = make_reference_backend();
    const Tensor x = tensor_of(*backend, 1, 4, {1, 2, 3, 4});
    backend->copy(x.buffer, 0, x.buffer, 4, 12);
    EXPECT_EQ(read(*backend, x), (std::vector<float>{1, 1, 2, 3}));
    EXPECT_EQ(backend->mark(), nullptr);
}

TEST(HostSlots, LandWhereOperationsRead) {
    const auto backend = make_reference_backend();
    const auto slots = backend->make_slots(3, 2 * kPageBytes);
    EXPECT_EQ(slots->slots(), 3u);
    EXPECT_EQ(slots->slot_bytes(), 2 * kPageBytes);
    EXPECT_EQ(slots->landings(), 3u);
    for (size_t slot = 0; slot < 3; ++slot) {
        std::byte* const landing = slots->land_at(2 - slot, slot);
        EXPECT_EQ(reinterpret_cast<uintptr_t>(landing) % kPageBytes, 0u);
        EXPECT_EQ(landing, host_bytes(slots->buffer(slot)).data()) << "a slot is its own landing";
        std::fill_n(landing, slots->slot_bytes(), static_cast<std::byte>(slot + 1));
        EXPECT_EQ(slots->landed(2 - slot, slot), nullptr);
    }
    slots->discard(1);
    for (size_t slot = 0; slot < 3; ++slot) {
        const auto content = host_bytes(slots->buffer(slot));
        EXPECT_EQ(content.size(), slots->slot_bytes());
        EXPECT_EQ(content.front(), slot == 1 ? std::byte{0} : static_cast<std::byte>(slot + 1));
        EXPECT_EQ(content.back(), content.front());
    }
}

TEST(HostSlots, RefusesSizesThatAreNoPages) {
    const auto backend = make_reference_backend();
    expect_usage_error([&] { backend->make_slots(1, 100); }, {"100 bytes", "4096"});
    expect_usage_error([&] { backend->make_slots(1, 0); }, {"0 bytes"});
    EXPECT_THROW(backend->make_slots(~size_t{0}, kPageBytes), Error);
    EXPECT_EQ(backend->make_slots(0, kPageBytes)->slots(), 0u);
}

}  // namespace
}  // namespace sluice
