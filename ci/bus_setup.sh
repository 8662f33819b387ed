#!/usr/bin/env bash
# Installs RabbitMQ's server for the tests of the bus, where it is missing; needs root then. The package would start a
# broker of its own, now and at every boot: it is kept from both, the tests start a private one.
set -euo pipefail
[ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] && exit 0
if [ "$(id -u)" != 0 ]; then
    echo "rabbitmq-server is missing; install it, or run this as root: apt-get install rabbitmq-server" >&2
    exit 1
fi
echo "installing rabbitmq-server"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod +x $policy
fi
log=$(mktemp)
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends rabbitmq-server; } > "$log" 2>&1; then
    cat "$log" >&2
    rm -f "$log"
    exit 1
fi
rm -f "$log"
if [ -d /run/systemd/system ]; then
    systemctl disable --quiet --now rabbitmq-server.service epmd.service epmd.socket 2>/dev/null || true
fi
