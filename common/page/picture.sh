#!/bin/sh
# The picture in the README: the page itself, as headless Chromium shows it.
set -eu
cd "$(dirname "$0")/../.."
cargo lab page
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT
chromium --headless=new --no-sandbox --disable-gpu --hide-scrollbars --user-data-dir="$profile" --window-size=1280,720 \
  --virtual-time-budget=6000 --screenshot=common/page/picture.png "file://$PWD/target/page/index.html?talk#${1:-six}"
