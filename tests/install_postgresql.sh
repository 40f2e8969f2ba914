#!/bin/sh
# Sees to PostgreSQL, on which the tests of seasons run Prefect's server. Without it they are skipped, and say so.
set -eu
if command -v postgres >/dev/null; then exit 0; fi
for binary in /usr/lib/postgresql/*/bin/postgres; do
    if [ -x "$binary" ]; then exit 0; fi
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing PostgreSQL, which holds the database of the tests' Prefect server ..."
    apt-get update -qq
    # No cluster of the machine's own: the tests make one in a folder of theirs.
    mkdir -p /etc/postgresql-common
    [ -e /etc/postgresql-common/createcluster.conf ] || echo "create_main_cluster = false" >/etc/postgresql-common/createcluster.conf
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends postgresql >/dev/null
else
    echo "PostgreSQL is missing, so the tests of seasons on a team's server will be skipped (Debian: sudo apt-get install postgresql)." >&2
fi
