#!/usr/bin/env bash
# Installs the programs that benchmarks are compared with, where they are missing. System packages need root.
set -euo pipefail
cd "$(dirname "$0")/.."
need=()
command -v tshark >/dev/null || need+=(tshark)
command -v sngrep >/dev/null || need+=(sngrep)
command -v wrk >/dev/null || need+=(wrk)
command -v sipp >/dev/null || need+=(sip-tester)
[ -e /usr/include/osipparser2/osip_message.h ] || need+=(libosip2-dev)
[ -e /usr/include/re/re.h ] || need+=(libre-dev)
ldconfig -p | grep -q libspandsp || need+=(libspandsp2)
[ -e /usr/include/speex/speex_resampler.h ] || need+=(libspeexdsp-dev)
[ -e /usr/include/srtp2/srtp.h ] || need+=(libsrtp2-dev)
[ -x /usr/bin/rtpengine ] || need+=(rtpengine-daemon)
if [ ${#need[@]} -gt 0 ]; then
    echo "installing ${need[*]}"
    export DEBIAN_FRONTEND=noninteractive
    # rtpengine's package would start a server, now and at every boot: it is kept from both, the benchmarks start their own.
    policy=/usr/sbin/policy-rc.d
    if [ ! -e $policy ]; then
        trap 'rm -f $policy' EXIT
        printf '#!/bin/sh\nexit 101\n' > $policy
        chmod +x $policy
    fi
    apt-get update -q && apt-get install -y -q --no-install-recommends "${need[@]}"
    if [[ " ${need[*]} " == *" rtpengine-daemon "* ]] && command -v systemctl > /dev/null; then
        systemctl disable --quiet rtpengine-daemon.service 2> /dev/null || true
    fi
fi
bash ci/sip_setup.sh
peers=bench/data/.peers
[ -x "$peers/bin/python" ] || python3 -m venv "$peers"
"$peers/bin/python" -c "import dpkt, soxr, aiortc" 2>/dev/null && [ -x "$peers/bin/sip-doctor" ] ||
    "$peers/bin/python" -m pip install -q --disable-pip-version-check "sip-doctor==0.8.0" "dpkt==1.9.8" "soxr==1.0.0" "aiortc==1.16.0"
