#!/usr/bin/env bash
# Starts redis-server with the release build of the module, in the foreground,
# keeping nothing on disk, and shows how to try it.
#
#   PORT=6380 FLOODGATE_SERVER=/path/to/valkey-server scripts/run.sh [server settings]
set -euo pipefail

cd "$(dirname "$0")/.."
port=${PORT:-6379}
server=${FLOODGATE_SERVER:-redis-server}
module=$(realpath -m -- "${CARGO_TARGET_DIR:-target}")/release/libfloodgate.so

if ! [[ $port =~ ^[0-9]{1,5}$ ]] || [ "$((10#$port))" -lt 1 ] || [ "$((10#$port))" -gt 65535 ]; then
    echo "run: PORT=$port is not a port: 1 to 65535" >&2
    exit 1
fi
if [ ! -e "$module" ]; then
    echo "run: the module is not built: $module is missing (make build makes it)" >&2
    exit 1
fi
if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    echo "run: port $port is taken, perhaps by another redis-server. Take another port: make run PORT=$((port < 65535 ? port + 1 : 6380))" >&2
    exit 1
fi

cli=redis-cli
[ "$port" = 6379 ] || cli="redis-cli -p $port"
hints="
Floodgate is ready on port $port. Try, in another terminal:

  $cli RL.ACQUIRE user:42 10/s
  $cli RL.QUOTA user:42
  $cli RL.BATCH ALL 2 user:42 10/s 1 org:7 1000/h 1
  $cli RL.BLOCK user:42 FOR 30s REASON 'too many logins'

Ctrl-C stops it; nothing is kept on disk.
"

# The hints come after what the server prints while it starts.
(
    for _ in {1..100}; do
        if [ "$(redis-cli -p "$port" PING 2>/dev/null)" = PONG ]; then
            echo "$hints"
            exit
        fi
        kill -0 $$ 2>/dev/null || exit
        sleep 0.1
    done
) &

pid=
# A server ignores that its terminal was closed: nobody would find it. Under nohup that is ignored here, too.
stop() { stopped=yes; [ -z "$pid" ] || kill "$pid" 2>/dev/null || true; }
trap stop HUP TERM
# Ctrl-C reaches the server itself.
trap : INT
"$server" --port "$port" --bind 127.0.0.1 --save '' --appendonly no "$@" --loadmodule "$module" &
pid=$!
# The signal may have come before there was a server.
[ -z "${stopped:-}" ] || stop
status=0
wait "$pid" || status=$?
# A signal ends the waiting before the server has ended.
while kill -0 "$pid" 2>/dev/null; do
    status=0
    wait "$pid" || status=$?
done
exit "$status"
