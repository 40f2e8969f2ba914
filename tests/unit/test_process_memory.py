"""Memory comes in large pages where the kernel has them, and what is freed stays with the process."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.settings import ask_for_large_pages

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's allocator is arranged on Linux only")

CHURN = """
import resource, sys
import numpy as np
from infra.process_memory import keep_freed_memory

def churn():
    kept = [np.ones(700_000, np.float32) for _ in range(14)]
    kept.clear()

if sys.argv[1] == "keep":
    assert keep_freed_memory()
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_freed_memory_is_not_asked_for_anew() -> None:
    def num_pages(how: str) -> int:
        return int(subprocess.run([sys.executable, "-c", CHURN, how], capture_output=True, text=True, check=True, timeout=120).stdout)

    assert num_pages("keep") < num_pages("as it is") / 10


HEAPS = """
import ctypes, sys, threading
import numpy as np
from infra.process_memory import FEWEST_HEAPS, keep_freed_memory
from infra.settings import num_cpus

if sys.argv[1] == "keep":
    assert keep_freed_memory()
print(max(FEWEST_HEAPS, num_cpus()), flush=True)
together = threading.Barrier(2 * num_cpus() + 2)

def work():
    together.wait(60)
    mine = [np.ones(10_000) for _ in range(20)]
    together.wait(60)

threads = [threading.Thread(target=work) for _ in range(together.parties)]
for thread in threads: thread.start()
for thread in threads: thread.join()
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def test_there_is_a_heap_for_each_processor_not_for_each_thread() -> None:
    def heaps(how: str) -> tuple[int, int]:
        """(how many there may be, how many there are)"""
        told = subprocess.run([sys.executable, "-c", HEAPS, how], capture_output=True, text=True, check=True, timeout=120).stdout
        return int(told.split("\n", 1)[0]), told.count("<heap nr=")

    allowed, kept = heaps("keep")
    assert kept <= allowed < heaps("as it is")[1]


START_AGAIN = """
import json, os, sys
from infra import process_memory
process_memory._KERNEL_SETTING = process_memory.Path(sys.argv[1])
process_memory.start_again_in_large_pages()
print(json.dumps([os.getpid(), sys.argv[1:], os.environ.get("GLIBC_TUNABLES"), os.environ["MARK"]]))
"""


def _started(setting: Path, **environment: str) -> tuple[bool, list]:
    """(whether the process is the one that was started, what it says of itself)"""
    words = [sys.executable, "-c", START_AGAIN, str(setting), "--json", "two words"]
    own = {name: value for name, value in os.environ.items() if name != "GLIBC_TUNABLES"}
    process = subprocess.Popen(words, env=own | {"MARK": "kept"} | environment, stdout=subprocess.PIPE, text=True)
    said = json.loads(process.communicate(timeout=120)[0])
    assert process.returncode == 0
    return said[0] == process.pid, said[1:]


def test_a_program_starts_itself_again_as_the_same_process_with_the_same_words(tmp_path: Path) -> None:
    setting = tmp_path / "enabled"
    setting.write_text("always [madvise] never\n")
    assert _started(setting) == (True, [[str(setting), "--json", "two words"], "glibc.malloc.hugetlb=1", "kept"])
    assert _started(setting, GLIBC_TUNABLES="glibc.malloc.check=1")[1][1] == "glibc.malloc.check=1"  # what the user tuned stays
    setting.write_text("always madvise [never]\n")
    assert _started(setting)[1][1] is None
    assert _started(tmp_path / "another kernel")[1][1] is None


def test_large_pages_are_asked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "restored after the test")
    assert not ask_for_large_pages()
    monkeypatch.delenv("GLIBC_TUNABLES")
    assert ask_for_large_pages()
    assert not ask_for_large_pages()


GIVEN_BACK = """
from pathlib import Path
import numpy as np
from infra.process_memory import give_back_freed_memory, keep_freed_memory

def resident_mib():
    return int(Path("/proc/self/statm").read_text().split()[1]) / 256

assert keep_freed_memory()
held = [np.ones(86_000, np.float32) for _ in range(900)]  # frames of 344 KB, as of a film of 640x360
between = [held[n].copy() for n in range(0, 900, 9)]  # keeps the heap from shrinking from its end
full = resident_mib()
held.clear()
freed = resident_mib()
give_back_freed_memory()
print(full, freed, resident_mib())
"""


def test_what_a_long_shots_frames_took_goes_back_when_it_is_asked_for() -> None:
    said = subprocess.run([sys.executable, "-c", GIVEN_BACK], capture_output=True, text=True, check=True, timeout=120).stdout
    full, freed, given_back = map(float, said.split())
    assert freed > full - 200, "freed memory is kept"
    assert given_back < full - 200
