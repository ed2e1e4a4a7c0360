#!/bin/sh
# Makes one cluster of Valkey servers, or finds that they are one. Safe to run again: a cluster
# that is whole is left alone, one that is half made is completed.
#
#   create-cluster.sh HOST:PORT HOST:PORT HOST:PORT...
#
# Environment:
#   REPLICAS                          of each primary (0)
#   WAIT                              seconds for the nodes to answer, and again to agree (120)
#   VALKEYCLI_AUTH or REDISCLI_AUTH   the password, if there is one
#   RESET                             yes: if the nodes cannot be joined as they are, start from
#                                     new, although they hold state (no)
#
# Exit code: 0 if the nodes are one cluster that serves all slots; 1, after one line on standard
# error, if not; 2 if it was called in the wrong way. Needs valkey-cli, timeout and getent.
set -eu

REPLICAS=${REPLICAS:-0}
WAIT=${WAIT:-120}
RESET=${RESET:-no}
# Which of the two valkey-cli reads depends on its version.
auth=${VALKEYCLI_AUTH:-${REDISCLI_AUTH:-}}
if [ -n "$auth" ]; then
    export VALKEYCLI_AUTH="$auth" REDISCLI_AUTH="$auth"
fi

fail() {
    echo "create-cluster: $*" >&2
    exit 1
}

# cli HOST:PORT COMMAND...: what the node answers; fails if that is an error.
cli() (
    node=$1
    shift
    said=$(timeout 5 valkey-cli -e -h "${node%:*}" -p "${node##*:}" "$@") || status=$?
    echo "$said" | tr -d '\r'
    exit "${status:-0}"
)

# Waits until every node answers.
await_nodes() {
    limit=$(($(date +%s) + WAIT))
    for node in "$@"; do
        while :; do
            said=$(cli "$node" ping 2>&1) || :
            case $said in
            *PONG) break ;;
            *NOAUTH* | *WRONGPASS*) fail "$node refuses the password of REDISCLI_AUTH" ;;
            esac
            if [ "$(date +%s)" -ge "$limit" ]; then
                fail "$node does not answer within $WAIT s: $(echo "$said" | tail -n 1)"
            fi
            sleep 1
        done
        if [ "$(cli "$node" info cluster 2>/dev/null | sed -n 's/^cluster_enabled://p')" != 1 ]; then
            fail "$node is not run with cluster-enabled yes"
        fi
    done
}

# state HOST:PORT FIELD: one line of CLUSTER INFO.
state() {
    cli "$1" cluster info 2>/dev/null | sed -n "s/^cluster_$2://p" | grep . || echo 0
}

# The node's own line of CLUSTER NODES: id, address, flags, six more, and its slots.
own_line() {
    cli "$1" cluster nodes 2>/dev/null | grep myself
}

# Whether each node serves slots or follows a node that does, and is in touch with all others, at
# the addresses that these give themselves: clients take any node's word for all of them.
is_whole() {
    names=
    for node in "$@"; do
        [ "$(state "$node" state)" = ok ] || return 1
        [ "$(state "$node" slots_ok)" = 16384 ] || return 1
        own=$(own_line "$node") || return 1
        case $own in
        *myself,slave* | *' connected '*) ;;
        *) return 1 ;;
        esac
        # Id and address.
        names="$names${own%% myself*}
"
    done
    for node in "$@"; do
        known=$(cli "$node" cluster nodes 2>/dev/null) || return 1
        while read -r name; do
            echo "$known" | grep -F "$name " | grep -q ' connected' || return 1
        done <<EOF
${names%?}
EOF
    done
}

await_whole() {
    limit=$(($(date +%s) + $1))
    shift
    until is_whole "$@"; do
        [ "$(date +%s)" -lt "$limit" ] || return 1
        sleep 1
    done
}

# Whether no node knows of any other or has a slot.
are_new() {
    for node in "$@"; do
        [ "$(state "$node" known_nodes)" = 1 ] || return 1
        [ "$(state "$node" slots_assigned)" = 0 ] || return 1
    done
}

# Whether there is nothing to lose: no node has a key, or is in touch with one that is not in
# this list.
are_empty() {
    for node in "$@"; do
        [ "$(cli "$node" dbsize 2>/dev/null)" = 0 ] || return 1
        [ "$(cli "$node" cluster nodes 2>/dev/null | grep -cv -e fail -e noaddr)" -le $# ] || return 1
    done
}

# The node's address, as Valkey takes no names here.
address_of() {
    address=$({ getent ahostsv4 "${1%:*}" || getent ahosts "${1%:*}"; } | sed -n '1s/ .*//p')
    echo "${address:-${1%:*}}"
}

create() {
    for node in "$@"; do
        shift
        set -- "$@" "$(address_of "$node"):${node##*:}"
    done
    said=$(valkey-cli --cluster create "$@" --cluster-replicas "$REPLICAS" --cluster-yes 2>&1) ||
        fail "$(echo "$said" | tail -n 1)"
}

# Tells every node where each of the others is. Nodes that know each other, but at addresses that
# are no longer theirs, find each other again in this way; and a node learns its own new address
# only by being met.
introduce() {
    for other in "$@"; do
        bus=$(own_line "$other" | sed 's/^[^@]*@\([0-9]*\).*/\1/')
        address=$(address_of "$other")
        for node in "$@"; do
            [ "$node" = "$other" ] ||
                cli "$node" cluster meet "$address" "${other##*:}" "$bus" >/dev/null ||
                fail "$node does not take $other in"
        done
    done
}

# A node that serves slots must be empty for it. That may take a second attempt: it serves them
# until then.
reset() {
    [ "$RESET" != yes ] || cli "$1" flushall >/dev/null 2>&1 || :
    cli "$1" cluster reset hard >/dev/null 2>&1
}

if [ $# -lt 3 ]; then
    echo "usage: create-cluster.sh HOST:PORT HOST:PORT HOST:PORT..." >&2
    exit 2
fi
await_nodes "$@"
if is_whole "$@"; then
    echo "The $# nodes are a cluster already."
    exit 0
fi
if are_new "$@"; then
    echo "Making a cluster of $# nodes, with $REPLICAS replicas for each primary."
    create "$@"
else
    echo "The nodes are not a whole cluster: introducing them to each other."
    introduce "$@"
    if ! await_whole 20 "$@"; then
        [ "$RESET" = yes ] || are_empty "$@" ||
            fail "the nodes are not a whole cluster and hold state; RESET=yes starts from new"
        echo "Starting from new."
        for node in "$@"; do
            reset "$node" || reset "$node" || reset "$node" || fail "$node cannot be reset"
        done
        create "$@"
    fi
fi
await_whole "$WAIT" "$@" || fail "the nodes do not agree within $WAIT s; ask valkey-cli --cluster check $1"
echo "The $# nodes are a cluster."
