#!/bin/sh
# Makes .venv with Python 3.11 or 3.12. On a bare Debian, which ships Python without venv, it installs python3-venv when run as root.
set -eu
cd "$(dirname "$0")/.."

if .venv/bin/python -m pip --version >/dev/null 2>&1; then exit 0; fi

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' 2>/dev/null; }

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3 python3.12; do
        if fits "$candidate"; then python=$candidate; break; fi
    done
fi
if [ -z "$python" ] || ! fits "$python"; then
    echo "dubflow needs Python 3.11 or 3.12${python:+, and $python is not}. Install it (Debian 12: apt-get install python3) or name it: make PYTHON=/path/to/python3.11 ..." >&2
    exit 1
fi

if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "Installing python3-venv, which $python lacks ..."
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends python3-venv >/dev/null
    else
        echo "$python has no venv module. Install it and try again (Debian: sudo apt-get install python3-venv)." >&2
        exit 1
    fi
fi
rm -rf .venv
"$python" -m venv .venv
