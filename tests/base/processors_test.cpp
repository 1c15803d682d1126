#include "base/processors.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <string>

#include "base/memory.h"
#include "tests/support/temporary_folder.h"

#ifdef __linux__
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace sluice {
namespace {

// A machine's description as the kernel lays it out.
class Machine {
  public:
    Machine& add(int id, const std::string& siblings, int node) {
        const auto processor = folder_ / "cpu" / ("cpu" + std::to_string(id));
        std::filesystem::create_directories(processor / "topology");
        std::ofstream(processor / "topology" / "thread_siblings_list") << siblings << "\n";
        std::filesystem::create_directories(processor / ("node" + std::to_string(node)));
        return *this;
    }
    std::vector<Processor> order(std::vector<int> allowed) const { return team_order(allowed, folder_.path()); }

  private:
    testing::TemporaryFolder folder_;
};

TEST(Processors, ATeamTakesOneOfEveryCoreFirst) {
    Machine machine;
    machine.add(0, "0,2", 0).add(1, "1,3", 0).add(2, "0,2", 0).add(3, "1,3", 0);
    EXPECT_EQ(machine.order({0, 1, 2, 3}), (std::vector<Processor>{{0, 0, 0}, {1, 1, 0}, {2, 0, 0}, {3, 1, 0}}));
    Machine neighbours;
    neighbours.add(0, "0-1", 0).add(1, "0-1", 0).add(2, "2-3", 0).add(3, "2-3", 0);
    EXPECT_EQ(neighbours.order({0, 1, 2, 3}), (std::vector<Processor>{{0, 0, 0}, {2, 2, 0}, {1, 0, 0}, {3, 2, 0}}));
}

TEST(Processors, ATeamTakesMemoryNodesInTurn) {
    Machine machine;
    machine.add(0, "0", 0).add(1, "1", 0).add(2, "2", 1).add(3, "3", 1).add(4, "4", 1);
    EXPECT_EQ(machine.order({0, 1, 2, 3, 4}),
              (std::vector<Processor>{{0, 0, 0}, {2, 2, 1}, {1, 1, 0}, {3, 3, 1}, {4, 4, 1}}));
}

TEST(Processors, OnlyAllowedOnesAreTaken) {
    Machine machine;
    machine.add(0, "0-1", 0).add(1, "0-1", 0).add(2, "2-3", 1).add(3, "2-3", 1);
    EXPECT_EQ(machine.order({1, 3}), (std::vector<Processor>{{1, 0, 0}, {3, 2, 1}}));
}

TEST(Processors, WithoutADescriptionEachIsACore) {
    const testing::TemporaryFolder nothing;
    EXPECT_EQ(team_order(std::vector<int>{4, 7}, nothing / "missing"), (std::vector<Processor>{{4, 4, 0}, {7, 7, 0}}));
}

TEST(Processors, CoresAreNotMoreThanProcessors) {
    EXPECT_GE(available_cores(), 1u);
    EXPECT_LE(available_cores(), usable_processors().size());
}

#ifdef __linux__
TEST(Processors, LargeMemoryIsSpreadWhereThereAreNodes) {
    const PageMemory memory(size_t{4} << 20);
    int policy = -1;
    if (::syscall(SYS_get_mempolicy, &policy, nullptr, 0ul, memory.data(), MPOL_F_ADDR) != 0)
        GTEST_SKIP() << "the kernel tells no memory policy";
    const auto processors = usable_processors();
    const bool one_node = std::all_of(processors.begin(), processors.end(),
                                      [&](const Processor& p) { return p.node == processors.front().node; });
    EXPECT_EQ(policy, one_node ? MPOL_DEFAULT : MPOL_INTERLEAVE);
}
#endif

}  // namespace
}  // namespace sluice
