"""README's example for data people runs as it stands there."""

import re
import subprocess
import sys
from pathlib import Path

from tasks.shot_table import table_of, write_table
from tests.unit.test_hand_over import PAL, film_of, report_of

README = Path(__file__).parents[2] / "README.md"


def test_pandas_reads_the_table_in_three_lines(tmp_path):
    code = re.search(r"```python\n(import pandas\n.*?)```", README.read_text(encoding="utf-8"), re.S)
    assert code
    assert len(code[1].strip().splitlines()) == 3
    folder = tmp_path / "season" / "episode-a"
    folder.mkdir(parents=True)
    reports = [report_of(0, (0, 10)), report_of(1, (10, 20), "review", reason="the mouth flickers")]
    write_table(table_of(film_of(PAL, None, 20), reports, None), folder)
    done = subprocess.run([sys.executable, "-c", code[1]], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "the mouth flickers" in done.stdout
    assert "in sync" not in done.stdout
