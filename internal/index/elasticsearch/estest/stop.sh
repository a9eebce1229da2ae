#!/usr/bin/env bash
# Stops the node that `start.sh PORT` started, by its pid file.   stop.sh [PORT]
set -euo pipefail
port=${1:-9200}
cache=${ES_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elasticsearch-test}
file=$cache/run/$port/pid
[ -f "$file" ] || { echo "stop: nothing recorded for port $port"; exit 0; }
pid=$(cat "$file")
# Only a process that is this node: the pid may have been handed to another since.
if ! tr '\0' '\n' < "/proc/$pid/cmdline" 2>/dev/null | grep -xF -- "-Djava.io.tmpdir=$cache/run/$port/tmp" >/dev/null; then
  rm -f "$file"; echo "stop: not running"; exit 0
fi
kill "$pid"
for _ in $(seq 1 100); do
  kill -0 "$pid" 2>/dev/null || { rm -f "$file"; echo "stop: stopped $pid"; exit 0; }
  sleep 0.2
done
kill -9 "$pid" 2>/dev/null || true
rm -f "$file"; echo "stop: killed $pid"
