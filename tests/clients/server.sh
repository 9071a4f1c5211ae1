# Starts a server for the checks of clients; sourced by sh, not run.
#
#   start_server PROGRAM MODELS_DIR NAME WORK_DIR [FLAG...]
#
# sets `server` to its process and `address` to where it listens; stop_server ends it in order.
server=
address=

start_server() {
    program=$1
    out=$4/out
    store=$4/store
    models_dir=$2
    model=$3
    shift 4
    "$program" --models "$models_dir" --name "$model" --store "$store" --listen 127.0.0.1:0 \
        --log warn "$@" >"$out" &
    server=$!
    tries=0
    until address=$(sed -n 's/^listening on //p' "$out") && [ -n "$address" ]; do
        kill -0 "$server" 2>/dev/null || { echo "the server did not start" >&2; return 1; }
        tries=$((tries + 1))
        [ "$tries" -lt 300 ] || { echo "the server does not say where it listens" >&2; return 1; }
        sleep 0.1
    done
}

# Ends the server and waits; fails where it does not end in order.
stop_server() {
    kill -TERM "$server"
    wait "$server"
    server=
    echo "ended in order"
}

# For a trap: ends the server whatever else went wrong.
drop_server() {
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
}
