#!/bin/sh
# Makes .venv-swift: OpenStack Swift, a real S3 server for the tests, in an environment of its own (it wants eventlet).
set -eu
cd "$(dirname "$0")/.."
done_mark=.venv-swift/swift-2.38.3.installed
[ -e "$done_mark" ] && exit 0
rm -rf .venv-swift
"${PYTHON:-python3}" -m venv .venv-swift
.venv-swift/bin/pip install --quiet --disable-pip-version-check \
    swift==2.38.3 pyeclib==1.8.0 eventlet==0.41.3 greenlet==3.5.6 PasteDeploy==3.1.0 xattr==1.3.0 \
    lxml==6.1.3 requests==2.34.2 cryptography==50.0.2 dnspython==2.9.2
echo "*" > .venv-swift/.gitignore
touch "$done_mark"
