#!/usr/bin/env bash
# Installs what the documented examples are run with, where it is missing: curl and Node.js. Needs root then.
set -euo pipefail
need=()
command -v curl > /dev/null || need+=(curl)
command -v node > /dev/null || need+=(nodejs)
[ ${#need[@]} -gt 0 ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "${need[*]} missing; install it, or run this as root: apt-get install ${need[*]}" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q && apt-get install -y -q --no-install-recommends "${need[@]}"
