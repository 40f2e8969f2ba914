#!/bin/sh
# Sees to espeak-ng, the speech synthesiser that speaks the demo film's lines.
set -eu
if command -v espeak-ng >/dev/null; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing espeak-ng, which speaks the demo film's lines ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends espeak-ng >/dev/null
else
    echo "espeak-ng is missing; it speaks the demo film's lines. Install it and try again (Debian: sudo apt-get install espeak-ng)." >&2
    exit 1
fi
