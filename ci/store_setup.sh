#!/usr/bin/env bash
# Installs PostgreSQL's server for the tests of the store, where it is missing; needs root then. The package would make and
# start a cluster of its own, now and at every boot: it is kept from both, the tests start a private one.
set -euo pipefail
compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "postgresql is missing; install it, or run this as root: apt-get install postgresql" >&2
    exit 1
fi
# two test processes may come here at once
exec 9> /var/lock/trunkline-store-setup
flock 9
compgen -G '/usr/lib/postgresql/*/bin/initdb' > /dev/null && exit 0
export DEBIAN_FRONTEND=noninteractive
mkdir -p /etc/postgresql-common
[ -e /etc/postgresql-common/createcluster.conf ] || echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
log=$(mktemp)
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends postgresql; } > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
