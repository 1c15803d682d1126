#pragma once

namespace sluice::bench {

// A Markdown table: how fast one token reads weights of every format, beside bare reads by as many threads that took
// turns with it. Formats are those whose description contains `wanted`.
void print_format_reads(const char* wanted);

}  // namespace sluice::bench
