#!/usr/bin/env bash
# Installs the SIP programs that tests talk to, where they are missing: SIPp. Needs root then.
set -euo pipefail
need=()
command -v sipp > /dev/null || need+=(sip-tester)
[ ${#need[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "${need[*]} missing; install it, or run this as root: apt-get install ${need[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q && apt-get install -y -q --no-install-recommends "${need[@]}"
