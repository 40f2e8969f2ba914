"""Runs inside .venv-swift: `FOLDER rings` builds the rings, `FOLDER proxy|account|container|object` serves in the foreground."""

import ctypes
import os
import signal
import sys


def build_rings(folder: str) -> None:
    from swift.common.ring import RingBuilder

    with open(os.path.join(folder, "ports")) as file:
        ports = dict(line.split("=") for line in file.read().split())
    for name, port in ports.items():
        if name == "proxy":
            continue
        builder = RingBuilder(part_power=4, replicas=1, min_part_hours=1)
        builder.add_dev({"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1, "meta": ""})
        builder.rebalance()
        builder.get_ring().save(os.path.join(folder, f"{name}.ring.gz"))


def serve(folder: str, name: str) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: no server outlives the tests
    import swift.common.utils as utils

    utils.SWIFT_CONF_FILE = os.path.join(folder, "swift.conf")  # before storage_policy is imported: it reads /etc/swift otherwise
    from swift.common.wsgi import run_wsgi

    sys.exit(run_wsgi(os.path.join(folder, f"{name}.conf"), f"{name}-server"))


if __name__ == "__main__":
    folder, what = sys.argv[1:]
    if what == "rings":
        build_rings(folder)
    else:
        serve(folder, what)
