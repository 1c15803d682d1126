#!/usr/bin/python3
"""Prints the rounds of beside_llama_cpp.sh as a Markdown table. usage: report.py LINES THREADS

LINES holds JSON, a line of Sluice's and a line of llama.cpp's by turns. Where llama.cpp was killed its line is {}.
"""
import json
import statistics
import sys


def ratio(ours, theirs):
    return "%.2f" % (ours / theirs) if theirs else "-"


def main():
    lines = [json.loads(line) for line in open(sys.argv[1])]
    ours, theirs = lines[0::2], lines[1::2]
    print("%s threads | Sluice, tok/s (of its bound) | llama.cpp, tok/s | ratio" % sys.argv[2])
    print("---|---|---|---")
    for what in ("prefill", "decode"):
        speed, bound = what + "_tokens_per_s", what + "_bound_tokens_per_s"
        for our, their in zip(ours, theirs):
            print("%s | %.1f (%.0f %%) | %.1f | %s" % (what, our[speed], 100 * our[speed] / our[bound],
                                                       their.get(speed, 0), ratio(our[speed], their.get(speed))))
        print("%s, medians | | | %s" % (what, ratio(statistics.median(our[speed] for our in ours),
                                                    statistics.median(their.get(speed, 0) for their in theirs))))


main()
