#include "model/sequence_state.h"

#include <gtest/gtest.h>

#include <cstring>

namespace sluice {
namespace {

std::shared_ptr<const std::vector<StateSpec>> two_layers() {
    auto specs = std::make_shared<std::vector<StateSpec>>(2);
    (*specs)[0].kv_bytes_per_token = 16;
    (*specs)[1].convolution_rows = 3;
    (*specs)[1].convolution_columns = 4;
    (*specs)[1].delta_rows = 2;
    (*specs)[1].delta_columns = 5;
    return specs;
}

void write_token(Backend& backend, SequenceState& state, int64_t position, uint8_t value) {
    const std::vector<std::byte> row(16, std::byte{value});
    const KvPages pages = state.pages(0);
    backend.upload(pages.pages[static_cast<size_t>(position / kKvPageTokens)],
                   static_cast<uint64_t>(position % kKvPageTokens) * 16, row);
}

uint8_t read_token(Backend& backend, const SequenceState& state, int64_t position) {
    std::byte value{};
    backend.download(state.pages(0).pages[static_cast<size_t>(position / kKvPageTokens)],
                     static_cast<uint64_t>(position % kKvPageTokens) * 16, std::span(&value, 1));
    backend.wait();
    return static_cast<uint8_t>(value);
}

TEST(SequenceState, PagesGrowAsTokensCome) {
    const auto backend = make_reference_backend();
    SequenceState state(*backend, two_layers());
    EXPECT_EQ(state.pages(0).pages.size(), 0u);
    state.prepare_append(kKvPageTokens);
    state.advance(kKvPageTokens);
    EXPECT_EQ(state.pages(0).pages.size(), 1u);
    state.prepare_append(1);
    EXPECT_EQ(state.pages(0).pages.size(), 2u);
    EXPECT_EQ(state.pages(1).pages.size(), 0u);
    EXPECT_EQ(state.bytes(), 2u * kKvPageTokens * 16 + (12 + 10) * sizeof(float));
}

TEST(SequenceState, ForkSharesFullPagesAndCopiesTheOneWrittenTo) {
    const auto backend = make_reference_backend();
    SequenceState state(*backend, two_layers());
    state.prepare_append(kKvPageTokens + 1);
    state.advance(kKvPageTokens + 1);
    write_token(*backend, state, kKvPageTokens, 7);
    SequenceState fork = state.fork();
    fork.prepare_append(1);
    EXPECT_EQ(fork.pages(0).pages[0], state.pages(0).pages[0]);
    EXPECT_NE(fork.pages(0).pages[1], state.pages(0).pages[1]);
    EXPECT_EQ(read_token(*backend, fork, kKvPageTokens), 7);
    write_token(*backend, fork, kKvPageTokens, 9);
    EXPECT_EQ(read_token(*backend, state, kKvPageTokens), 7);
}

TEST(SequenceState, ForkCopiesRecurrentState) {
    const auto backend = make_reference_backend();
    SequenceState state(*backend, two_layers());
    const SequenceState fork = state.fork();
    const float value = 3;
    backend->upload(state.layer(1).delta.buffer, 0, std::as_bytes(std::span(&value, 1)));
    float seen = -1;
    backend->download(fork.layer(1).delta.buffer, 0, std::as_writable_bytes(std::span(&seen, 1)));
    backend->wait();
    EXPECT_EQ(seen, 0);
}

TEST(SequenceState, SaveAndLoadKeepEveryByte) {
    const auto backend = make_reference_backend();
    SequenceState state(*backend, two_layers());
    for (const int64_t tokens : {int64_t{1}, kKvPageTokens, kKvPageTokens + 3}) {
        state.truncate(0);
        state.prepare_append(tokens);
        for (int64_t t = 0; t < tokens; ++t) write_token(*backend, state, t, static_cast<uint8_t>(t * 7 + 1));
        state.advance(tokens);
        const float value = static_cast<float>(tokens);
        backend->upload(state.layer(1).convolution.buffer, 4, std::as_bytes(std::span(&value, 1)));
        const auto blocks = state.save();
        SequenceState other(*backend, two_layers());
        other.load(tokens, blocks);
        EXPECT_EQ(other.position(), tokens);
        const auto again = other.save();
        ASSERT_EQ(again.size(), blocks.size());
        for (size_t i = 0; i < blocks.size(); ++i) {
            EXPECT_EQ(again[i].name, blocks[i].name);
            EXPECT_EQ(again[i].bytes, blocks[i].bytes);
        }
    }
}

TEST(SequenceState, TruncateDropsPages) {
    const auto backend = make_reference_backend();
    auto specs = std::make_shared<std::vector<StateSpec>>(1);
    (*specs)[0].kv_bytes_per_token = 16;
    SequenceState state(*backend, specs);
    state.prepare_append(3 * kKvPageTokens);
    state.advance(3 * kKvPageTokens);
    state.truncate(kKvPageTokens);
    EXPECT_EQ(state.pages(0).pages.size(), 1u);
    EXPECT_EQ(state.position(), kKvPageTokens);
}

}  // namespace
}  // namespace sluice
