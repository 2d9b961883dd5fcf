#!/usr/bin/env bash
# Builds the lab, and says where it is: the output `lab`.
set -euo pipefail
course=$(cd "$GITHUB_ACTION_PATH/../../.." && pwd)
# Beside the sources, or where this machine has its builds.
target=${CARGO_TARGET_DIR:-$course/target}
cargo build --locked --package lab --bin lab --manifest-path "$course/Cargo.toml" --target-dir "$target"
echo "lab=$target/debug/lab" >>"$GITHUB_OUTPUT"
