#include "base/size.h"

#include <gtest/gtest.h>

#include <string>

#include "sluice/error.h"

namespace sluice {
namespace {

TEST(ParseSize, ReadsWhatPeopleWrite) {
    EXPECT_EQ(parse_size("0", "--ram"), 0u);
    EXPECT_EQ(parse_size("1234", "--ram"), 1234u);
    EXPECT_EQ(parse_size("512K", "--ram"), 512u << 10);
    EXPECT_EQ(parse_size("1500M", "--ram"), 1500ull << 20);
    EXPECT_EQ(parse_size("6G", "--ram"), 6ull << 30);
    EXPECT_EQ(parse_size("1.5g", "--ram"), 3ull << 29);
    EXPECT_EQ(parse_size("2GB", "--ram"), 2'000'000'000u);
    EXPECT_EQ(parse_size("2GiB", "--ram"), 2ull << 30);
    EXPECT_EQ(parse_size("1.5kB", "--ram"), 1500u);
    EXPECT_EQ(parse_size("64B", "--ram"), 64u);
    EXPECT_EQ(parse_size("2GiB", "--ram"), 2ull << 30);
    EXPECT_EQ(parse_size("1T", "--ram"), 1ull << 40);
}

TEST(ParseSize, RefusesTheRestNamingTheFlag) {
    for (const char* text : {"", "G", "12Q", "-1G", "1G2", "six", "nan", "inf", "1e30", "6 G"}) {
        try {
            parse_size(text, "--ram");
            ADD_FAILURE() << "\"" << text << "\" was taken for a size";
        } catch (const Error& error) {
            EXPECT_EQ(error.code(), ErrorCode::kUsage);
            EXPECT_NE(std::string(error.what()).find("--ram"), std::string::npos) << error.what();
        }
    }
}

TEST(FormatSize, IsShort) {
    EXPECT_EQ(format_size(0), "0 B");
    EXPECT_EQ(format_size(999), "999 B");
    EXPECT_EQ(format_size(1536), "1.50 KiB");
    EXPECT_EQ(format_size(uint64_t{20} << 30), "20.0 GiB");
}

}  // namespace
}  // namespace sluice
