#!/usr/bin/env bash
# Makes the virtual environment VENV with everything the engine and its tests need. System packages
# are installed only where something is missing and only as root on a Debian-family machine.
set -euo pipefail
venv=${1:-.venv}
need=()
command -v cc >/dev/null || need+=(build-essential)
python3 -c 'import venv, ensurepip' 2>/dev/null || need+=(python3-venv)
[ -e "$(python3 -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] || need+=(python3-dev)
echo '#include <openssl/evp.h>' | cc -E - >/dev/null 2>&1 || need+=(libssl-dev)
ldconfig -p | grep -q 'libopus\.so' || need+=(libopus0) # opuslib finds it there
if [ ${#need[@]} -gt 0 ]; then
    echo "installing ${need[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -q && apt-get install -y -q --no-install-recommends "${need[@]}"
fi
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --upgrade pip "setuptools>=77" wheel "cython>=3.1" "cffi>=2.0"
# Dependencies only: the packages themselves are used in place, from the checkout.
"$venv/bin/python" - <<'PY' > "$venv/requirements.txt"
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["dev"]))
PY
"$venv/bin/python" -m pip install -q --disable-pip-version-check -r "$venv/requirements.txt"
# `trunkline` on the environment's PATH, running from the checkout.
site=$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
pwd > "$site/trunkline-checkout.pth"
printf '#!%s\nimport sys\nfrom api.cli import main\nsys.exit(main())\n' "$(pwd)/$venv/bin/python" > "$venv/bin/trunkline"
chmod +x "$venv/bin/trunkline"
