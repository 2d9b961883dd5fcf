#!/usr/bin/env bash
# Checks the server, and annotates each failure. The exit code is that of the check.
set -euo pipefail
json=${RUNNER_TEMP:-/tmp}/check-${NAME//[^A-Za-z0-9._-]/_}.json
# Words between blanks and line breaks; nothing in them is executed.
read -r -d '' -a more <<<"$ARGUMENTS" || true
code=0
"$LAB" check --cmd "$COMMAND" --name "$NAME" --profile "$PROFILE" --json ${more[@]+"${more[@]}"} >"$json" || code=$?
# Without results the command line was wrong, or the server did not start: stderr says which.
if [ ! -s "$json" ]; then
    echo "::error title=$NAME::no check was run (exit code $code); the log says why"
    exit "$code"
fi
echo "json=$json" >>"$GITHUB_OUTPUT"
# A line break would end the command, and a percent sign begins an escape. A server may print anything.
jq -r '
    def data: gsub("%"; "%25") | gsub("\r"; "%0D") | gsub("\n"; "%0A");
    def property: data | gsub(":"; "%3A") | gsub(","; "%2C");
    .[] | .name as $name | .reports[] | select(.outcome == "fail")
    | "::error title=\("\($name): \(.check)" | property)::\("\(.what)\n\(.cause)" | data)"
' "$json"
jq -r '.[] | "\(.name): \(.passed) passed, \(.failed) failed, \(.skipped) skipped, \(.not_run) not run"' "$json" \
    | tee -a "${GITHUB_STEP_SUMMARY:-/dev/null}"
exit "$code"
