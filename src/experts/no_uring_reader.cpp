#include "experts/reader.h"

namespace sluice {

std::unique_ptr<Reader> make_uring_reader(ReaderFiles&, size_t, Reader::Completed, std::string& why) {
    why = "built without liburing";
    return nullptr;
}

}  // namespace sluice
