#include "experts/reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#if __has_include(<liburing.h>)
#include <dlfcn.h>
#include <liburing.h>
#endif

#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <map>
#include <random>

#include "base/error.h"
#include "base/memory.h"
#include "tests/experts/support.h"

#if __has_include(<liburing.h>)
namespace {

// As many of the ring's reads are answered as the kernel does that has no time for them now.
std::atomic<int> reads_to_put_off = 0;
std::atomic<int> put_off_with = EAGAIN;

}  // namespace

extern "C" int io_uring_submit_and_wait(io_uring* ring, unsigned wait_for) {
    using Function = int (*)(io_uring*, unsigned);
    static const auto real = reinterpret_cast<Function>(::dlsym(RTLD_NEXT, "io_uring_submit_and_wait"));
    const int result = real(ring, wait_for);
    std::array<io_uring_cqe*, 64> answers{};
    const unsigned count = ::io_uring_peek_batch_cqe(ring, answers.data(), static_cast<unsigned>(answers.size()));
    for (unsigned i = 0; i < count; ++i) {
        const bool wakes = answers[i]->user_data == UINT64_MAX;
        if (!wakes && answers[i]->res > 0 && reads_to_put_off > 0) {
            --reads_to_put_off;
            answers[i]->res = -put_off_with;
        }
    }
    return result;
}
#endif

namespace sluice::testing {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kFileBytes = 5 * (1 << 20) + 1234;  // ends off a page border

// Collects answers and waits for a number of them.
class Answers {
  public:
    Reader::Completed callback() {
        return [this](const ReadResult& result) {
            const std::scoped_lock lock(mutex_);
            answers_.push_back(result);
            changed_.notify_all();
        };
    }
    std::vector<ReadResult> wait(size_t count) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return answers_.size() >= count; });
        return answers_;
    }
    size_t count() {
        const std::scoped_lock lock(mutex_);
        return answers_.size();
    }

  private:
    std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<ReadResult> answers_;
};

std::string message_of(const std::exception_ptr& error) {
    try {
        std::rethrow_exception(error);
    } catch (const Error& caught) {
        return caught.what();
    }
}

struct Way {
    ReaderKind kind;
    bool direct;
};

class EveryReader : public ::testing::TestWithParam<Way> {
  protected:
    void SetUp() override {
        std::mt19937_64 random(3);
        for (int f = 0; f < 2; ++f) {
            content_.emplace_back(kFileBytes);
            fill_random(content_.back(), random);
            paths_.push_back(folder_ / ("file-" + std::to_string(f)));
            AtomicFile file(paths_.back());
            file.append(content_.back());
            file.commit();
        }
        if (GetParam().direct && !direct_io_works(paths_[0])) GTEST_SKIP() << "no direct I/O in " << folder_.path();
    }

    // Null where there is no io_uring.
    std::unique_ptr<Reader> open(Answers& answers, size_t depth = 4) {
        ReaderFiles files(paths_, GetParam().direct, true);
        std::string why;
        switch (GetParam().kind) {
            case ReaderKind::kUring:
                return make_uring_reader(files, depth, answers.callback(), why);
            case ReaderKind::kMmap:
                return make_mmap_reader(std::move(files), depth, answers.callback());
            default:
                return make_pread_reader(std::move(files), depth, answers.callback());
        }
    }

    TemporaryFolder folder_;
    std::vector<std::filesystem::path> paths_;
    std::vector<std::vector<std::byte>> content_;
};

TEST_P(EveryReader, DeliversTheBytesOfTheFile) {
    Answers answers;
    std::vector<ReadRequest> requests;
    std::vector<PageMemory> memory;
    std::mt19937_64 random(5);
    const auto add = [&](uint64_t offset, uint64_t bytes, uint64_t at) {
        memory.emplace_back(bytes + at + 64);
        const auto file = static_cast<uint32_t>(random() % 2);
        requests.push_back({file, offset, bytes, memory.back().data() + at, requests.size()});
    };
    add(0, 4096, 0);
    add(4096, 8192, 0);   // aligned
    add(4096, 8192, 64);  // aligned in the file alone
    add(1, 1, 0);
    add(4095, 2, 64);           // over a page border
    add(100, 3 << 20, 0);       // several pieces, unaligned
    add(0, 4 << 20, 0);         // several pieces, aligned
    add(kFileBytes - 1, 1, 0);  // the last byte
    add(kFileBytes - 5000, 5000, 128);
    for (int i = 0; i < 100; ++i) {
        const uint64_t offset = random() % (kFileBytes - 1);
        add(offset, 1 + random() % std::min<uint64_t>(kFileBytes - offset, 300000), random() % 64 * 64);
    }
    {
        const auto reader = open(answers);
        if (!reader) GTEST_SKIP() << "no io_uring here";
        EXPECT_EQ(reader->direct(), GetParam().direct);
        reader->submit(requests);
        for (const ReadResult& answer : answers.wait(requests.size())) {
            const ReadRequest& request = requests[answer.tag];
            ASSERT_FALSE(answer.error) << message_of(answer.error);
            EXPECT_GE(answer.transferred, request.bytes);
            EXPECT_EQ(std::memcmp(request.destination, content_[request.file].data() + request.offset, request.bytes),
                      0)
                << request.bytes << " bytes at " << request.offset;
            // Nothing behind the wanted bytes was touched.
            EXPECT_EQ(request.destination[request.bytes], std::byte{0}) << request.bytes << " at " << request.offset;
        }
    }
    EXPECT_EQ(answers.count(), requests.size());
}

TEST_P(EveryReader, AFileThatEndsEarlyIsAnErrorThatNamesIt) {
    Answers answers;
    const auto reader = open(answers);
    if (!reader) GTEST_SKIP() << "no io_uring here";
    std::filesystem::resize_file(paths_[1], 1 << 20);  // after it was opened, and mapped
    PageMemory memory(4 << 20);
    const std::vector<ReadRequest> requests{{1, (1 << 20) - 4096, 8192, memory.data(), 0},
                                            {1, 2 << 20, 2 << 20, memory.data() + 8192, 1},
                                            {1, 4096, 4096, memory.data() + (3 << 20), 2}};
    reader->submit(requests);
    for (const ReadResult& answer : answers.wait(3)) {
        if (answer.tag == 2) {
            EXPECT_FALSE(answer.error);
            continue;
        }
        ASSERT_TRUE(answer.error) << answer.tag;
        EXPECT_THAT(message_of(answer.error), HasSubstr(paths_[1].string()));
        EXPECT_THAT(message_of(answer.error), HasSubstr("ends at byte"));
    }
}

TEST_P(EveryReader, AnswersEverythingBeforeItIsGone) {
    Answers answers;
    PageMemory memory(200 << 12);
    auto reader = open(answers, 1);
    if (!reader) GTEST_SKIP() << "no io_uring here";
    std::vector<ReadRequest> requests;
    for (uint64_t i = 0; i < 200; ++i) requests.push_back({0, i * 4096, 4096, memory.data() + i * 4096, i});
    reader->submit(requests);
    reader->cancel(150);
    reader.reset();
    std::map<uint64_t, int> seen;
    for (const ReadResult& answer : answers.wait(0)) {
        ++seen[answer.tag];
        if (answer.cancelled || answer.error) continue;
        EXPECT_EQ(std::memcmp(requests[answer.tag].destination, content_[0].data() + answer.tag * 4096, 4096), 0);
    }
    EXPECT_EQ(seen.size(), 200u);
    for (const auto& [tag, times] : seen) EXPECT_EQ(times, 1) << tag;
}

INSTANTIATE_TEST_SUITE_P(Readers, EveryReader,
                         ::testing::Values(Way{ReaderKind::kPread, false}, Way{ReaderKind::kPread, true},
                                           Way{ReaderKind::kUring, false}, Way{ReaderKind::kUring, true},
                                           Way{ReaderKind::kMmap, false}),
                         [](const auto& way) {
                             const char* kind = way.param.kind == ReaderKind::kPread   ? "Pread"
                                                : way.param.kind == ReaderKind::kUring ? "Uring"
                                                                                       : "Mmap";
                             return std::string(kind) + (way.param.direct ? "Direct" : "Buffered");
                         });

#if __has_include(<liburing.h>)
class UringReads : public EveryReader {};

TEST_P(UringReads, ArePutOffAndAskedForAgain) {
    for (const int reason : {EAGAIN, EINTR}) {
        Answers answers;
        const auto reader = open(answers);
        if (!reader) GTEST_SKIP() << "no io_uring here";
        put_off_with = reason;
        reads_to_put_off = 40;
        PageMemory memory(8192);
        const std::vector<ReadRequest> requests{{0, 4096, 8192, memory.data(), 0}};
        reader->submit(requests);
        const ReadResult answer = answers.wait(1)[0];
        ASSERT_FALSE(answer.error) << message_of(answer.error);
        EXPECT_EQ(reads_to_put_off, 0);
        EXPECT_EQ(std::memcmp(memory.data(), content_[0].data() + 4096, 8192), 0);
    }
}

TEST_P(UringReads, PutOffForEverAreAnErrorThatNamesTheFile) {
    Answers answers;
    const auto reader = open(answers);
    if (!reader) GTEST_SKIP() << "no io_uring here";
    put_off_with = EAGAIN;
    reads_to_put_off = 1 << 30;
    PageMemory memory(4096);
    const std::vector<ReadRequest> requests{{1, 4096, 4096, memory.data(), 0}};
    reader->submit(requests);
    const ReadResult answer = answers.wait(1)[0];
    reads_to_put_off = 0;
    ASSERT_TRUE(answer.error);
    EXPECT_THAT(message_of(answer.error), HasSubstr(paths_[1].string()));
}

INSTANTIATE_TEST_SUITE_P(Readers, UringReads,
                         ::testing::Values(Way{ReaderKind::kUring, false}, Way{ReaderKind::kUring, true}),
                         [](const auto& way) { return std::string(way.param.direct ? "Direct" : "Buffered"); });
#endif

TEST(OpenReader, ReportsWhatItUses) {
    const FileModel model({.record_bytes = {8192}});
    Answers answers;
    ReaderOptions options{.kind = ReaderKind::kPread, .direct = When::kOff, .depth = 3, .record_bytes = 8192};
    EXPECT_EQ(open_reader(model.catalogue().files, options, answers.callback())->name(), "pread x3");
    options.kind = ReaderKind::kMmap;
    options.direct = When::kOn;  // a mapping has no direct transfers
    const auto mapped = open_reader(model.catalogue().files, options, answers.callback());
    EXPECT_EQ(mapped->name(), "mmap x3");
    EXPECT_FALSE(mapped->direct());
}

TEST(OpenReader, DirectOnlyForWhatDoesNotFit) {
    const FileModel model({.record_bytes = {8192}});
    if (!direct_io_works(model.catalogue().files[0])) GTEST_SKIP() << "no direct I/O here";
    Answers answers;
    ReaderOptions options{.depth = 2, .record_bytes = 8192, .read_bytes = 1 << 20};
    EXPECT_FALSE(open_reader(model.catalogue().files, options, answers.callback())->direct());
    options.read_bytes = available_memory_bytes() * 2;
    EXPECT_TRUE(open_reader(model.catalogue().files, options, answers.callback())->direct());
    options.direct = When::kOff;
    EXPECT_FALSE(open_reader(model.catalogue().files, options, answers.callback())->direct());
}

TEST(OpenReader, FallsBackWhereDirectIoIsRefused) {
    // procfs refuses O_DIRECT.
    EXPECT_FALSE(direct_io_works("/proc/self/status"));
    Answers answers;
    const ReaderOptions options{.kind = ReaderKind::kPread, .direct = When::kOn, .depth = 1, .record_bytes = 4096};
    EXPECT_FALSE(open_reader({"/proc/self/status"}, options, answers.callback())->direct());
}

TEST(OpenReader, MissingFileIsNamed) {
    Answers answers;
    try {
        open_reader({"/nowhere/experts.safetensors"}, {}, answers.callback());
        FAIL();
    } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kNotFound);
        EXPECT_THAT(error.what(), HasSubstr("/nowhere/experts.safetensors"));
    }
}

TEST(Transfers, RoundOutwardToPages) {
    alignas(4096) static std::byte memory[8192];
    const auto transfer = [&](uint64_t offset, uint64_t bytes, size_t at) {
        return make_transfer(offset, bytes, memory + at, true);
    };
    EXPECT_FALSE(transfer(8192, 4096, 0).bounced);
    EXPECT_TRUE(transfer(8192, 4096, 64).bounced);
    EXPECT_TRUE(transfer(8192, 4095, 0).bounced);
    const Transfer wide = transfer(5000, 4000, 0);
    EXPECT_EQ(wide.offset, 4096u);
    EXPECT_EQ(wide.bytes, 8192u);
    EXPECT_EQ(wide.skip, 904u);
    EXPECT_EQ(make_transfer(5000, 4000, memory, false).bytes, 4000u);
}

}  // namespace
}  // namespace sluice::testing
