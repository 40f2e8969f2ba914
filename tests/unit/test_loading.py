"""A command loads its modules without a search for garbage, and the collector is back at work after that."""

import gc
import subprocess
import sys
from contextlib import suppress

import pytest

from infra.loading import loading_modules


@pytest.fixture
def collector():
    was_enabled = gc.isenabled()
    yield
    gc.unfreeze()
    gc.enable() if was_enabled else gc.disable()


@pytest.mark.usefixtures("collector")
@pytest.mark.parametrize("is_enabled", [True, False])
def test_nothing_is_collected_while_modules_load_and_the_collector_is_as_it_was_after_them(is_enabled):
    gc.enable() if is_enabled else gc.disable()
    with suppress(ImportError), loading_modules():
        assert not gc.isenabled()
        raise ImportError
    assert gc.isenabled() == is_enabled


def test_what_was_loaded_is_not_looked_through_again_and_garbage_made_later_is_found():
    script = """
import gc
from infra.loading import loading_modules
with loading_modules():
    import email.mime.text, wave
assert not any(o is wave for o in gc.get_objects())
class Ring: pass
ring = Ring(); ring.me = ring; del ring
assert gc.collect() >= 1
"""
    subprocess.run([sys.executable, "-c", script], check=True)
