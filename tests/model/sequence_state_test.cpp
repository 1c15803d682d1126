#include "model/sequence_state.h"

#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "base/memory.h"
#include "model/state_memory.h"

namespace sluice {
namespace {

constexpr uint64_t kTokenBytes = 16, kFixedBytes = (12 + 10) * sizeof(float);

StateParts two_layers() {
    return {{StatePart::cache("kv", KvFormat::kF32, kTokenBytes)},
            {StatePart::fixed("convolution", 3, 4), StatePart::fixed("delta", 2, 5)}};
}

class SequenceStateTest : public ::testing::Test {
  protected:
    std::shared_ptr<StatePool> pool_of(StateParts parts, const StatePoolSize& size = {.pages = 16, .slots = 4}) {
        return std::make_shared<StatePool>(*backend_, std::move(parts), size);
    }
    // Goes on by `tokens`, of which every byte is `value`.
    void append(SequenceState& state, int64_t tokens, uint8_t value) {
        state.prepare_append(tokens);
        for (int64_t p = state.position(); p < state.position() + tokens; ++p) {
            const std::vector<std::byte> row(kTokenBytes, std::byte{value});
            const Region page = state.pool().page_region(0, 0, state.pages()[static_cast<size_t>(p / kKvPageTokens)]);
            backend_->upload(page.buffer, page.offset + static_cast<uint64_t>(p % kKvPageTokens) * kTokenBytes, row);
        }
        state.advance(tokens);
    }
    uint8_t read_token(const SequenceState& state, int64_t position) {
        std::byte value{};
        const Region page =
            state.pool().page_region(0, 0, state.pages()[static_cast<size_t>(position / kKvPageTokens)]);
        backend_->download(page.buffer, page.offset + static_cast<uint64_t>(position % kKvPageTokens) * kTokenBytes,
                           std::span(&value, 1));
        backend_->wait();
        return static_cast<uint8_t>(value);
    }
    void write_delta(const SequenceState& state, float value) {
        const Region region = state.pool().slot_region(1, 1, state.slot());
        backend_->upload(region.buffer, region.offset, std::as_bytes(std::span(&value, 1)));
    }
    float read_delta(const SequenceState& state) {
        float value = -1;
        const Region region = state.pool().slot_region(1, 1, state.slot());
        backend_->download(region.buffer, region.offset, std::as_writable_bytes(std::span(&value, 1)));
        backend_->wait();
        return value;
    }

    std::unique_ptr<Backend> backend_ = make_reference_backend();
};

TEST_F(SequenceStateTest, PagesGrowAsTokensCome) {
    SequenceState state(pool_of(two_layers()));
    EXPECT_EQ(state.pages().size(), 0u);
    state.prepare_append(kKvPageTokens);
    state.advance(kKvPageTokens);
    EXPECT_EQ(state.pages().size(), 1u);
    state.prepare_append(1);
    EXPECT_EQ(state.pages().size(), 2u);
    EXPECT_EQ(state.bytes(), 2 * kKvPageTokens * kTokenBytes + kFixedBytes);
}

TEST_F(SequenceStateTest, ForkSharesFullPagesAndCopiesTheOneWrittenTo) {
    SequenceState state(pool_of(two_layers()));
    append(state, kKvPageTokens + 1, 7);
    SequenceState fork = state.fork();
    append(fork, 1, 9);
    EXPECT_EQ(fork.pages()[0], state.pages()[0]);
    EXPECT_NE(fork.pages()[1], state.pages()[1]);
    EXPECT_EQ(read_token(fork, kKvPageTokens), 7);
    append(state, 1, 5);
    EXPECT_EQ(read_token(fork, kKvPageTokens + 1), 9);
    EXPECT_EQ(read_token(state, kKvPageTokens + 1), 5);
}

TEST_F(SequenceStateTest, WhoeverGoesOnFirstCopiesRecurrentState) {
    for (const bool fork_first : {true, false}) {
        SequenceState state(pool_of(two_layers()));
        write_delta(state, 3);
        SequenceState fork = state.fork();
        SequenceState& first = fork_first ? fork : state;
        const SequenceState& other = fork_first ? state : fork;
        first.prepare_append(1);
        EXPECT_NE(first.slot(), other.slot());
        EXPECT_EQ(read_delta(first), 3);
        write_delta(first, 4);
        EXPECT_EQ(read_delta(other), 3);
    }
}

TEST_F(SequenceStateTest, AStateThatEndedLeavesNothingToTheNext) {
    const auto pool = pool_of(two_layers(), {.pages = 2, .slots = 1});
    for (int round = 0; round < 3; ++round) {
        SequenceState state(pool);
        EXPECT_EQ(read_delta(state), 0);
        write_delta(state, 5);
        append(state, 2 * kKvPageTokens, 1);
    }
    SequenceState state(pool);
    append(state, kKvPageTokens, 1);
    write_delta(state, 5);
    state.truncate(0);
    EXPECT_EQ(read_delta(state), 0);
    EXPECT_EQ(pool->free_pages(), 2);
}

TEST_F(SequenceStateTest, AFullPoolSaysSoAndGoesOnWhenThereIsRoom) {
    const auto pool = pool_of({{StatePart::cache("kv", KvFormat::kF32, kTokenBytes)}}, {.pages = 3, .slots = 1});
    SequenceState first(pool);
    append(first, 2 * kKvPageTokens, 1);
    SequenceState fork = first.fork();
    EXPECT_EQ(pool->free_pages(), 1);
    append(fork, 1, 2);
    try {
        append(first, 1, 3);
        ADD_FAILURE() << "a fourth page of three";
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kOutOfMemory);
        EXPECT_NE(std::string(error.what()).find("all 3 pages"), std::string::npos) << error.what();
    }
    EXPECT_EQ(first.position(), 2 * kKvPageTokens);
    fork.truncate(0);
    append(first, 1, 3);
    EXPECT_EQ(read_token(first, 2 * kKvPageTokens - 1), 1);
    EXPECT_EQ(read_token(first, 2 * kKvPageTokens), 3);
}

TEST_F(SequenceStateTest, MovingKeepsOneOwner) {
    const auto pool = pool_of(two_layers());
    SequenceState state(pool);
    append(state, 1, 7);
    SequenceState moved(std::move(state));
    EXPECT_EQ(read_token(moved, 0), 7);
    SequenceState other(pool);
    other = std::move(moved);
    EXPECT_EQ(read_token(other, 0), 7);
    const int32_t page = other.pages()[0];
    other.prepare_append(1);
    EXPECT_EQ(other.pages()[0], page);
}

TEST_F(SequenceStateTest, SaveAndLoadKeepEveryByte) {
    const auto pool = pool_of(two_layers());
    SequenceState state(pool);
    for (const int64_t tokens : {int64_t{1}, kKvPageTokens, kKvPageTokens + 3}) {
        state.truncate(0);
        for (int64_t t = 0; t < tokens; ++t) append(state, 1, static_cast<uint8_t>(t * 7 + 1));
        write_delta(state, static_cast<float>(tokens));
        const auto blocks = state.save();
        ASSERT_EQ(blocks.size(), 3u);
        EXPECT_EQ(blocks[0].name, "layers.0.kv");
        EXPECT_EQ(blocks[1].name, "layers.1.convolution");
        SequenceState other(pool);
        other.load(tokens, blocks);
        EXPECT_EQ(other.position(), tokens);
        EXPECT_EQ(read_token(other, tokens - 1), static_cast<uint8_t>((tokens - 1) * 7 + 1));
        EXPECT_EQ(read_delta(other), static_cast<float>(tokens));
        const auto again = other.save();
        ASSERT_EQ(again.size(), blocks.size());
        for (size_t i = 0; i < blocks.size(); ++i) {
            EXPECT_EQ(again[i].name, blocks[i].name);
            EXPECT_EQ(again[i].bytes, blocks[i].bytes);
        }
    }
}

TEST_F(SequenceStateTest, ALayerCanKeepTwoCaches) {
    const auto pool = pool_of({{StatePart::cache("kv", KvFormat::kBF16, 64),
                                StatePart::cache("index", KvFormat::kF32, 8), StatePart::fixed("last", 1, 2)}});
    SequenceState state(pool);
    state.prepare_append(kKvPageTokens + 1);
    state.advance(kKvPageTokens + 1);
    EXPECT_EQ(state.bytes(), 2 * kKvPageTokens * (64 + 8) + 2 * sizeof(float));
    const auto sizes = state.block_sizes(state.position());
    ASSERT_EQ(sizes.size(), 3u);
    EXPECT_EQ(sizes[1], (std::pair<std::string, uint64_t>("layers.0.index", 2 * kKvPageTokens * 8)));
    std::vector<std::byte> bytes(8, std::byte{9});
    const Region index = pool->page_region(0, 1, state.pages()[1]);
    backend_->upload(index.buffer, index.offset, bytes);
    const auto blocks = state.save();
    EXPECT_EQ(blocks[1].bytes[kKvPageTokens * 8], std::byte{9});
}

TEST_F(SequenceStateTest, TruncateDropsPages) {
    SequenceState state(pool_of({{StatePart::cache("kv", KvFormat::kF32, kTokenBytes)}}));
    append(state, 3 * kKvPageTokens, 1);
    state.truncate(kKvPageTokens);
    EXPECT_EQ(state.pages().size(), 1u);
    EXPECT_EQ(state.position(), kKvPageTokens);
}

TEST_F(SequenceStateTest, SharedMemoryCountsOnce) {
    SequenceState state(pool_of(two_layers()));
    append(state, kKvPageTokens + 1, 1);
    SequenceState fork = state.fork();
    StateMemory memory;
    memory.add(state);
    memory.add(fork);
    EXPECT_EQ(memory.bytes(), 2 * kKvPageTokens * kTokenBytes + kFixedBytes);
    memory.remove(fork);
    append(fork, 1, 2);
    memory.add(fork);
    EXPECT_EQ(memory.bytes(), 3 * kKvPageTokens * kTokenBytes + 2 * kFixedBytes);
    memory.remove(state);
    memory.remove(fork);
    EXPECT_EQ(memory.bytes(), 0u);
}

TEST_F(SequenceStateTest, WhereAllAreTakenSomebodyMayGiveUpWhatItKeeps) {
    const auto pool = pool_of(two_layers(), {.pages = 2, .slots = 2});
    SequenceState mine(pool);
    append(mine, 10, 1);
    std::vector<SequenceState> kept;
    append(kept.emplace_back(pool), 10, 2);
    EXPECT_THROW(SequenceState{pool}, Error);
    pool->set_give_up([&] {
        if (kept.empty()) return false;
        kept.pop_back();
        return true;
    });
    SequenceState other(pool);
    append(other, 10, 3);
    EXPECT_TRUE(kept.empty());
    EXPECT_EQ(read_token(mine, 9), 1);
    EXPECT_EQ(read_token(other, 9), 3);
    EXPECT_THROW(SequenceState{pool}, Error);
    EXPECT_THROW(other.prepare_append(kKvPageTokens), Error);
}

// Physical memory comes as pages are written and goes when their last owner does.
TEST(StatePoolMemory, IsTakenAsItIsUsed) {
    const auto backend = make_cpu_backend({.threads = 1});
    constexpr uint64_t kPage = 64 << 10;
    const auto pool = std::make_shared<StatePool>(
        *backend, StateParts{{StatePart::cache("kv", KvFormat::kF32, kPage / kKvPageTokens)}},
        StatePoolSize{.pages = 1 << 20, .slots = 1});  // 64 GB of addresses
    const uint64_t before = private_resident_bytes();
    {
        SequenceState state(pool);
        state.prepare_append(100 * kKvPageTokens);
        const std::vector<std::byte> bytes(kPage, std::byte{1});
        for (const int32_t page : state.pages()) {
            const Region region = pool->page_region(0, 0, page);
            backend->upload(region.buffer, region.offset, bytes);
        }
        EXPECT_NEAR(static_cast<double>(private_resident_bytes() - before), 100.0 * kPage, 10.0 * kPage);
    }
    EXPECT_LT(private_resident_bytes(), before + 10 * kPage);
}

}  // namespace
}  // namespace sluice
