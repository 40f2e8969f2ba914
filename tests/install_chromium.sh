#!/bin/sh
# Sees to Chromium, the browser that the report's tests open the page in. Without it they are skipped, and say so.
set -eu
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" >/dev/null; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing Chromium, which opens the report in the tests ..."
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends chromium >/dev/null
else
    echo "Chromium is missing, so the report's browser tests will be skipped (Debian: sudo apt-get install chromium)." >&2
fi
