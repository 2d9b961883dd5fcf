#!/bin/sh
# Grades a class in parts by GNU parallel. Its authors ran it on one machine, alone and by ssh to two names of itself.
#
#   exercises/grading/parallel.sh CLASS RESULTS PARTS [OPTION OF PARALLEL]..
#   exercises/grading/parallel.sh submissions results 4 -j 2
#   exercises/grading/parallel.sh submissions results 8 -j 1 --sshlogin ann,bea --workdir .
#
# Other machines have to see the course, CLASS and RESULTS under the same names. On one machine, the option --jobs of
# `cargo lab grade --class` does the same with less.
set -eu
class=$(realpath "$1")
results=$(realpath -m "$2")
parts=$3
shift 3
mkdir -p "$results"
cd "$(dirname "$0")/../.."
# A part that failed is tried once more: it goes on with what is in RESULTS.
seq "$parts" | parallel --retries 2 "$@" cargo lab grade --class "$class" --results "$results" \
    --shard "{}/$parts" --format json --output "$results/part-{}.json"
cargo lab merge --format csv --output "$results/grades.csv" "$results"/part-*.json
