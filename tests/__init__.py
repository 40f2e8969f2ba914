"""The tests. Worker processes share the machine: threads that wait for each other busily would cost six times the work."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch and numpy are loaded; for processes that tests start, too
