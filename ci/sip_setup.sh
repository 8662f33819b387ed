#!/usr/bin/env bash
# Installs the SIP programs that tests talk to, where they are missing: SIPp, Kamailio, baresip and sipsak, the name server dnsmasq, and tshark, which reads
# what we captured. Needs root then.
# Kamailio's package would start a server, now and at every boot: it is kept from both, the tests start their own.
set -euo pipefail
missing() {
    need=()
    command -v sipp > /dev/null || need+=(sip-tester)
    [ -x /usr/sbin/kamailio ] || need+=(kamailio)
    compgen -G '/usr/lib/*/kamailio/modules/tls.so' > /dev/null || need+=(kamailio-tls-modules)
    compgen -G '/usr/lib/*/kamailio/modules/websocket.so' > /dev/null || need+=(kamailio-websocket-modules)
    command -v baresip > /dev/null || need+=(baresip-core)
    command -v sipsak > /dev/null || need+=(sipsak)
    [ -x /usr/sbin/dnsmasq ] || need+=(dnsmasq-base)
    command -v tshark > /dev/null || need+=(tshark)
}
missing
[ ${#need[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "${need[*]} missing; install it, or run this as root: apt-get install ${need[*]}" >&2
    exit 1
fi
# two test processes may come here at once
exec 9> /var/lock/trunkline-sip-setup
flock 9
missing
[ ${#need[@]} -gt 0 ] || exit 0
echo "installing ${need[*]}"
export DEBIAN_FRONTEND=noninteractive
policy=/usr/sbin/policy-rc.d
log=$(mktemp)
trap 'rm -f $log' EXIT
if [ ! -e $policy ]; then
    trap 'rm -f $log $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod +x $policy
fi
if ! { apt-get update -q && apt-get install -y -q --no-install-recommends "${need[@]}"; } > "$log" 2>&1; then
    cat "$log" >&2
    exit 1
fi
if [[ " ${need[*]} " == *" kamailio "* ]] && command -v systemctl > /dev/null; then
    systemctl disable --quiet kamailio.service 2> /dev/null || true
fi
