#include "sluice/launch.h"

#include <charconv>
#include <cstdlib>
#include <optional>
#include <string_view>

namespace sluice {

namespace {

// What launchers tell those they start.
struct LauncherVariables {
    const char* rank;
    const char* size;
};
constexpr LauncherVariables kLaunchers[] = {
    {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"},  // Open MPI
    {"PMI_RANK", "PMI_SIZE"},                          // MPICH, Intel MPI; srun with PMI
    {"PMIX_RANK", "SLURM_STEP_NUM_TASKS"},             // srun with PMIx
};

std::optional<int> number_in(const char* variable) {
    const char* text = std::getenv(variable);
    if (text == nullptr) return std::nullopt;
    const std::string_view digits = text;
    int value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size()) return std::nullopt;
    return value;
}

}  // namespace

Launch launched() {
    for (const LauncherVariables& launcher : kLaunchers) {
        const std::optional<int> rank = number_in(launcher.rank), size = number_in(launcher.size);
        if (rank && size && *rank >= 0 && *rank < *size) return {.rank = *rank, .size = *size};
    }
    return {};
}

}  // namespace sluice
