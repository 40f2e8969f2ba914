"""What people see of a run: a live view on a terminal, plain lines in a pipe."""

from io import StringIO

from flows.run.display import LiveDisplay, PlainDisplay, open_display
from flows.run.forecast import Forecast, Rates
from flows.run.progress import Began, Ended, Foreseen, Said, StageBegan, StageEnded, listening, tell


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


EVENTS = [
    Foreseen("faces", 2, 10.0),
    Foreseen("sync", 2, 10.0),
    StageBegan("faces", 2, 10.0),
    Began("faces", "shot-00000"),
    Ended("faces", "shot-00000", 5.0, 2.0, was_reused=False),
    Began("faces", "shot-00001"),
    Said("the film has a stain", is_warning=True),
]


def test_the_display_fits_the_stream():
    forecast = Forecast(Rates(), 2)
    assert isinstance(open_display(forecast, StringIO()), PlainDisplay)
    assert isinstance(open_display(forecast, Terminal()), LiveDisplay)


def test_in_a_pipe_every_step_that_ends_is_a_line():
    stream = StringIO()
    with PlainDisplay(Forecast(Rates(), 2), stream) as display, listening(display):
        for event in [*EVENTS, Ended("faces", "shot-00001", 5.0, 0.0, was_reused=True), StageEnded("faces")]:
            tell(event)
        tell(StageBegan("sync", 1, 1.0))
        tell(Ended("sync", "shot-00000 fr", 1.0, 0.0, was_reused=False, trouble="disk full"))
    lines = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines[:3] == ["faces 1/2 shot-00000: 2.0 s", "warning: the film has a stain", "faces 2/2 shot-00001: found finished"]
    assert lines[3].startswith("faces: 2 done, 1 of them found finished; ")
    assert lines[4] == "sync 1/1 shot-00000 fr: failed: disk full"
    assert "\x1b" not in stream.getvalue()


def test_on_a_terminal_stages_running_shots_and_the_remaining_time_are_seen():
    stream = Terminal()
    display = LiveDisplay(Forecast(Rates(), 1), stream)
    with display, listening(display):
        for event in EVENTS:
            tell(event)
    shown = stream.getvalue()
    assert "faces" in shown
    assert "1/2" in shown
    assert "shot-00001" in shown
    assert "the film has a stain" in shown
    assert "first guess" in shown
    assert shown.rstrip().endswith("\x1b[?25h")  # the cursor is back


def test_without_a_listener_nothing_is_told():
    tell(Said("to nobody"))
