#include "base/cgroup.h"

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "tests/support/temporary_folder.h"

namespace sluice {
namespace {

// Groups as the kernel lays them out.
class Groups {
  public:
    explicit Groups(const std::string& memberships) { write("cgroup", memberships); }
    Groups& add(const std::string& file, const std::string& text) {
        write("fs/" + file, text);
        return *this;
    }
    std::optional<double> quota() const { return processor_quota({folder_ / "cgroup", folder_ / "fs"}); }

  private:
    void write(const std::string& file, const std::string& text) {
        std::filesystem::create_directories((folder_ / file).parent_path());
        std::ofstream(folder_ / file) << text;
    }
    testing::TemporaryFolder folder_;
};

TEST(ControlGroups, WithoutAQuotaThereIsNone) {
    EXPECT_EQ(Groups("").quota(), std::nullopt);
    EXPECT_EQ(Groups("0::/a\n").add("a/cpu.max", "max 100000\n").quota(), std::nullopt);
    EXPECT_EQ(Groups("1:cpu:/a\n").add("cpu/a/cpu.cfs_quota_us", "-1").add("cpu/a/cpu.cfs_period_us", "100000").quota(),
              std::nullopt);
    EXPECT_EQ(Groups("nonsense\n1:cpu\n").quota(), std::nullopt);
}

TEST(ControlGroups, TheTightestOfAllDepthsCounts) {
    Groups unified("0::/a/b/c\n");
    unified.add("cpu.max", "800000 100000").add("a/cpu.max", "250000 100000").add("a/b/c/cpu.max", "max 100000");
    EXPECT_EQ(unified.quota(), 2.5);
    unified.add("a/b/cpu.max", "50000 100000");
    EXPECT_EQ(unified.quota(), 0.5);
}

TEST(ControlGroups, OlderOnesHaveAFolderForEachController) {
    Groups older("5:memory:/m\n4:cpu,cpuacct:/a/b\n0::/\n");
    older.add("cpu/a/cpu.cfs_quota_us", "300000").add("cpu/a/cpu.cfs_period_us", "100000");
    older.add("memory/m/cpu.cfs_quota_us", "1").add("memory/m/cpu.cfs_period_us", "100000");
    EXPECT_EQ(older.quota(), 3.0);
    Groups joined("4:cpu,cpuacct:/a\n");
    joined.add("cpu,cpuacct/a/cpu.cfs_quota_us", "150000").add("cpu,cpuacct/a/cpu.cfs_period_us", "100000");
    EXPECT_EQ(joined.quota(), 1.5);
}

// In a container the own group is the root of what can be seen, whatever its name outside.
TEST(ControlGroups, AContainersOwnGroupIsTheRootItSees) {
    Groups container("3:cpu:/docker/0123\n");
    container.add("cpu/cpu.cfs_quota_us", "100000").add("cpu/cpu.cfs_period_us", "100000");
    EXPECT_EQ(container.quota(), 1.0);
}

}  // namespace
}  // namespace sluice
