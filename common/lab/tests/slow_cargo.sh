#!/bin/sh
# Stands in for a cargo whose build takes long. BUILDING gets its number once it runs.
echo $$ >"$BUILDING.new" && mv "$BUILDING.new" "$BUILDING"
exec sleep 1000
