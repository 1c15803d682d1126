#include "bench/kernel_bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>

namespace sluice::bench {

double Measured::share(const Limits& limits) const {
    double least = 0;
    if (limits.flops > 0) least = flops / limits.flops;
    if (limits.read_bytes > 0) least = std::max(least, bytes / limits.read_bytes);
    return least / timing.seconds;
}

std::string table_line(const Measured& measured, const Limits& limits) {
    return fmt::format("{:12} {:44} {:10.4f} {:6.1f} % {:10.0f} {:8.0f} {:6.0f} %", measured.group, measured.name,
                       1e3 * measured.timing.seconds, 100 * measured.timing.spread, measured.flops_per_second() / 1e9,
                       measured.bytes_per_second() / 1e9, 100 * measured.share(limits));
}

std::string limits_line(const Limits& limits) {
    std::string line = fmt::format("limits: read {:.0f} GB/s", limits.read_bytes / 1e9);
    if (limits.copy_bytes > 0) line += fmt::format(", copy {:.0f} GB/s", limits.copy_bytes / 1e9);
    return line + fmt::format(", {:.0f} GFLOP/s ({})", limits.flops / 1e9, limits.flops_by);
}

std::string to_json(const std::string& device, const Limits& limits, const std::vector<Measured>& all) {
    nlohmann::json kernels = nlohmann::json::array();
    for (const Measured& each : all) {
        kernels.push_back({{"group", each.group},
                           {"name", each.name},
                           {"ms", 1e3 * each.timing.seconds},
                           {"spread", each.timing.spread},
                           {"gflops", each.flops_per_second() / 1e9},
                           {"gbps", each.bytes_per_second() / 1e9},
                           {"share", each.share(limits)}});
    }
    const nlohmann::json report{{"device", device},
                                {"limits",
                                 {{"read_gbps", limits.read_bytes / 1e9},
                                  {"copy_gbps", limits.copy_bytes / 1e9},
                                  {"gflops", limits.flops / 1e9},
                                  {"gflops_by", limits.flops_by}}},
                                {"kernels", kernels}};
    return report.dump(2);
}

namespace {

constexpr double kWidth = 900, kHeight = 600, kMargin = 70;

// Of a picture with logarithms on both sides, whole powers of ten at the edges.
struct Axis {
    double low, high, from, to;  // powers, and where they are

    double at(double value) const { return from + (std::log10(value) - low) / (high - low) * (to - from); }
};

Axis axis_over(double least, double most, double from, double to) {
    return {std::floor(std::log10(least)), std::ceil(std::log10(most)), from, to};
}

std::string escaped(const std::string& text) {
    std::string out;
    for (const char c : text) {
        if (c == '&') {
            out += "&amp;";
        } else if (c == '<') {
            out += "&lt;";
        } else if (c == '>') {
            out += "&gt;";
        } else {
            out += c;
        }
    }
    return out;
}

// A color per group, in the order in which groups appear.
class Colors {
  public:
    const char* of(const std::string& group) {
        constexpr const char* kColors[] = {"#1b6ca8", "#c8553d", "#3a7d44", "#8e5ba6", "#b8860b", "#444444"};
        return kColors[groups_.try_emplace(group, groups_.size()).first->second % std::size(kColors)];
    }
    const std::map<std::string, size_t>& groups() const { return groups_; }

  private:
    std::map<std::string, size_t> groups_;
};

void add_line(std::string& svg, double x1, double y1, double x2, double y2, const char* color) {
    fmt::format_to(std::back_inserter(svg),
                   "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n", x1, y1, x2, y2,
                   color);
}

void add_text(std::string& svg, double x, double y, const char* color, const std::string& text) {
    fmt::format_to(std::back_inserter(svg), "<text x=\"{:.1f}\" y=\"{:.1f}\" fill=\"{}\">{}</text>\n", x, y, color,
                   escaped(text));
}

void add_grid(std::string& svg, const Axis& x, const Axis& y) {
    for (int power = static_cast<int>(x.low); power <= static_cast<int>(x.high); ++power) {
        const double at = x.at(std::pow(10, power));
        add_line(svg, at, y.from, at, y.to, "#dddddd");
        add_text(svg, at - 10, y.from + 20, "#333333", fmt::format("1e{}", power));
    }
    for (int power = static_cast<int>(y.low); power <= static_cast<int>(y.high); ++power) {
        const double at = y.at(std::pow(10, power));
        add_line(svg, x.from, at, x.to, at, "#dddddd");
        add_text(svg, x.from - 40, at + 4, "#333333", fmt::format("1e{}", power));
    }
    add_text(svg, (x.from + x.to) / 2 - 50, y.from + 45, "#333333", "operations per byte");
    add_text(svg, x.from - 40, y.to - 15, "#333333", "GFLOP/s");
}

void add_limits(std::string& svg, const Limits& limits, const Axis& x, const Axis& y) {
    if (limits.flops <= 0 || limits.read_bytes <= 0) return;
    const double ridge = limits.flops / limits.read_bytes, top = limits.flops / 1e9;
    const double left = std::max(std::pow(10, x.low), std::pow(10, y.low) * 1e9 / limits.read_bytes);
    if (left < ridge) {
        add_line(svg, x.at(left), y.at(left * limits.read_bytes / 1e9), x.at(ridge), y.at(top), "#000000");
    }
    add_line(svg, x.at(ridge), y.at(top), x.to, y.at(top), "#000000");
}

}  // namespace

std::string to_svg(const std::string& device, const Limits& limits, const std::vector<Measured>& all) {
    double least_x = 1, most_x = 1, least_y = 1, most_y = std::max(limits.flops / 1e9, 1.0);
    if (limits.read_bytes > 0) most_x = std::max(limits.flops / limits.read_bytes * 10, 10.0);
    for (const Measured& each : all) {
        if (each.flops <= 0 || each.bytes <= 0) continue;
        least_x = std::min(least_x, each.flops / each.bytes), most_x = std::max(most_x, each.flops / each.bytes);
        least_y = std::min(least_y, each.flops_per_second() / 1e9);
    }
    const Axis x = axis_over(least_x, most_x, kMargin, kWidth - kMargin),
               y = axis_over(least_y, most_y, kHeight - kMargin, kMargin);
    std::string svg = fmt::format(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
        "font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"{0}\" height=\"{1}\" fill=\"#ffffff\"/>\n",
        kWidth, kHeight);
    add_grid(svg, x, y);
    add_limits(svg, limits, x, y);
    Colors colors;
    for (const Measured& each : all) {
        if (each.flops <= 0 || each.bytes <= 0) continue;
        fmt::format_to(std::back_inserter(svg),
                       "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"4\" fill=\"{}\" fill-opacity=\"0.7\"><title>{}: {:.0f} "
                       "GFLOP/s, {:.0f} GB/s, {:.0f} %</title></circle>\n",
                       x.at(each.flops / each.bytes), y.at(each.flops_per_second() / 1e9), colors.of(each.group),
                       escaped(each.name), each.flops_per_second() / 1e9, each.bytes_per_second() / 1e9,
                       100 * each.share(limits));
    }
    for (const auto& [group, place] : colors.groups()) {
        add_text(svg, x.from + 15, y.to + 20 + 18 * static_cast<double>(place), colors.of(group), group);
    }
    add_text(svg, kMargin, 25, "#000000", device + "; " + limits_line(limits));
    return svg + "</svg>\n";
}

}  // namespace sluice::bench
