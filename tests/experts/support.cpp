#include "tests/experts/support.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>

#include "base/error.h"
#include "base/file.h"

namespace sluice::testing {

void fill_random(std::span<std::byte> bytes, std::mt19937_64& random) {
    for (size_t at = 0; at < bytes.size(); at += sizeof(uint64_t)) {
        const uint64_t word = random();
        std::memcpy(bytes.data() + at, &word, std::min(sizeof(word), bytes.size() - at));
    }
}

FileModel::FileModel(const ModelShape& shape, uint64_t seed) : shape_(shape) {
    std::mt19937_64 random(seed);
    std::vector<std::vector<std::byte>> files(static_cast<size_t>(shape.files));
    for (auto& file : files) file.resize(shape.front);
    auto reads = std::make_shared<std::vector<std::vector<std::vector<ExpertRead>>>>();
    auto checksums = std::make_shared<std::vector<std::vector<uint64_t>>>();
    for (size_t layer = 0; layer < shape.record_bytes.size(); ++layer) {
        const uint64_t bytes = shape.record_bytes[layer];
        records_.emplace_back();
        reads->emplace_back();
        checksums->emplace_back();
        for (int expert = 0; expert < shape.experts && bytes > 0; ++expert) {
            std::vector<std::byte> record(bytes);
            fill_random(record, random);
            checksums->back().push_back(XXH3_64bits(record.data(), record.size()));
            reads->back().emplace_back();
            const uint64_t step = bytes / static_cast<uint64_t>(shape.parts) / 64 * 64;
            for (int part = 0; part < shape.parts; ++part) {
                // The parts of one expert lie apart, each in the next file.
                const size_t file = (static_cast<size_t>(expert) + static_cast<size_t>(part)) % files.size();
                const uint64_t begin = static_cast<uint64_t>(part) * step;
                const uint64_t length = part + 1 == shape.parts ? bytes - begin : step;
                reads->back().back().push_back({{static_cast<uint32_t>(file), files[file].size(), length}, begin});
                files[file].insert(files[file].end(), record.begin() + static_cast<std::ptrdiff_t>(begin),
                                   record.begin() + static_cast<std::ptrdiff_t>(begin + length));
            }
            records_.back().push_back(std::move(record));
        }
    }
    for (size_t file = 0; file < files.size(); ++file) {
        catalogue_.files.push_back(folder_ / ("experts-" + std::to_string(file)));
        AtomicFile out(catalogue_.files.back());
        out.append(files[file]);
        out.commit();
    }
    catalogue_.record_bytes = shape.record_bytes;
    catalogue_.experts = shape.experts;
    catalogue_.experts_per_token = shape.top_k;
    catalogue_.reads = [reads](int layer, int expert) {
        return (*reads)[static_cast<size_t>(layer)][static_cast<size_t>(expert)];
    };
    if (shape.checksums) {
        catalogue_.checksum = [checksums](int layer, int expert) -> std::optional<uint64_t> {
            return (*checksums)[static_cast<size_t>(layer)][static_cast<size_t>(expert)];
        };
    }
}

bool FileModel::matches(int layer, const HeldExpert& held) const {
    const auto& bytes = record(layer, held.expert());
    if (held.arrived()) held.arrived()->wait();
    return std::ranges::equal(host_bytes(held.record()).first(bytes.size()), bytes);
}

FaultyReader::FaultyReader(Source source, const Faults& faults, size_t threads, Completed completed)
    : source_(std::move(source)), faults_(faults), completed_(std::move(completed)), random_(faults.seed) {
    for (size_t i = 0; i < threads; ++i) threads_.emplace_back([this] { work(); });
}

FaultyReader::~FaultyReader() {
    {
        const std::scoped_lock lock(mutex_);
        stopping_ = true;
    }
    wake_.notify_all();
    for (auto& thread : threads_) thread.join();
    for (const ReadRequest& request : queue_) completed_({.tag = request.tag, .cancelled = true});
}

void FaultyReader::submit(std::span<const ReadRequest> requests) {
    {
        const std::scoped_lock lock(mutex_);
        queue_.insert(queue_.end(), requests.begin(), requests.end());
    }
    wake_.notify_all();
}

void FaultyReader::cancel(uint64_t tag) {
    size_t cancelled = 0;
    {
        const std::scoped_lock lock(mutex_);
        cancelled = std::erase_if(queue_, [&](const ReadRequest& request) { return request.tag == tag; });
    }
    for (size_t i = 0; i < cancelled; ++i) completed_({.tag = tag, .cancelled = true});
}

void FaultyReader::pause() {
    const std::scoped_lock lock(mutex_);
    paused_ = true;
}

void FaultyReader::resume() {
    {
        const std::scoped_lock lock(mutex_);
        paused_ = false;
    }
    wake_.notify_all();
}

size_t FaultyReader::faults() const {
    const std::scoped_lock lock(mutex_);
    return injected_;
}

void FaultyReader::heal() {
    const std::scoped_lock lock(mutex_);
    faults_.error = faults_.interrupted = faults_.short_read = 0;
    faults_.wrong_byte = faults_.stall = faults_.delay = 0;
}

// Under the lock.
FaultyReader::Fault FaultyReader::draw() {
    double chance = std::uniform_real_distribution<double>(0, 1)(random_);
    const std::pair<double, Fault> kinds[] = {{faults_.error, Fault::kError},
                                              {faults_.interrupted, Fault::kInterrupted},
                                              {faults_.short_read, Fault::kShort},
                                              {faults_.wrong_byte, Fault::kWrongByte},
                                              {faults_.stall, Fault::kStall}};
    for (const auto& [share, fault] : kinds) {
        if (chance < share) return fault;
        chance -= share;
    }
    return Fault::kNone;
}

ReadResult FaultyReader::serve(const ReadRequest& request, Fault fault, uint64_t place) {
    const auto failed = [&](const std::string& what) {
        const std::string file = request.file < faults_.files.size() ? faults_.files[request.file].string()
                                                                     : fmt::format("file {}", request.file);
        return std::make_exception_ptr(Error(ErrorCode::kIo, fmt::format("{}: {}", file, what)));
    };
    const ReadRequest part{request.file, request.offset, place, request.destination, request.tag};
    ReadResult result{.tag = request.tag, .transferred = request.bytes};
    switch (fault) {
        case Fault::kError:
            result.error = failed(fmt::format("read at offset {}: {}", request.offset, errno_text(EIO)));
            break;
        case Fault::kInterrupted:
            source_(part);
            result.error = failed(fmt::format("read at offset {}: {}", request.offset + place, errno_text(EINTR)));
            break;
        case Fault::kShort:
            source_(part);
            result.error = failed(fmt::format("ends at byte {}, but {} bytes at offset {} were expected",
                                              request.offset + place, request.bytes, request.offset));
            break;
        case Fault::kWrongByte:
        case Fault::kStall:
        case Fault::kNone:
            source_(request);
            if (fault == Fault::kWrongByte) request.destination[place] ^= std::byte{1};
            break;
    }
    return result;
}

void FaultyReader::work() {
    while (true) {
        ReadRequest request;
        Fault fault = Fault::kNone;
        double late = 0;
        uint64_t place = 0;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stopping_ || (!paused_ && !queue_.empty()); });
            if (stopping_) return;
            const size_t at = random_() % queue_.size();
            request = queue_[at];
            queue_.erase(queue_.begin() + static_cast<std::ptrdiff_t>(at));
            fault = draw();
            if (fault == Fault::kStall) {
                late = faults_.stall_seconds;
            } else if (std::uniform_real_distribution<double>(0, 1)(random_) < faults_.delay) {
                late = 1e-3;
            }
            injected_ += fault != Fault::kNone;
            place = random_() % request.bytes;
        }
        if (late > 0) std::this_thread::sleep_for(std::chrono::duration<double>(late));
        completed_(serve(request, fault, place));
    }
}

FaultyReader::Source source_of(const FileModel& model) {
    auto files = std::make_shared<std::vector<File>>();
    for (const auto& path : model.catalogue().files) files->push_back(File::open(path));
    return [files](const ReadRequest& request) {
        (*files)[request.file].read_at(request.offset, {request.destination, request.bytes});
    };
}

std::vector<int> drain(ExpertStream& stream, const std::function<void(const HeldExpert&)>& visit) {
    std::vector<int> experts;
    while (true) {
        std::vector<HeldExpert> batch = stream.next();
        if (batch.empty()) return experts;
        for (HeldExpert& held : batch) {
            if (held.arrived()) held.arrived()->wait();
            if (visit) visit(held);
            if (!held.error()) experts.push_back(held.expert());
            held.keep_until(nullptr);
        }
    }
}

std::vector<HeldExpert> take(ExpertStream& stream, size_t count) {
    std::vector<HeldExpert> all;
    while (all.size() < count) {
        for (HeldExpert& held : stream.next()) all.push_back(std::move(held));
    }
    return all;
}

}  // namespace sluice::testing
