"""The demo film's script: which still each shot shows, how the camera moves over it, who says what in English and in German."""

from dataclasses import dataclass

FPS = 25
WIDTH, HEIGHT = 1280, 720
ORIGINAL_LANGUAGE, DUB_LANGUAGE = "en", "de"


@dataclass(frozen=True)
class View:
    """What the camera sees of a still: its centre and its width, in the still's own pixels."""

    x: float
    y: float
    width: float


@dataclass(frozen=True)
class Panel:
    """A part of the picture, as high as the film: one still under a moving camera."""

    still: str  # a name in demo_stills.STILLS
    start: View
    end: View


@dataclass(frozen=True)
class Line:
    """A sentence and its dub. A still of the same name as the speaker moves its lips; anybody else is heard off screen."""

    speaker: str
    original: str
    dub: str


@dataclass(frozen=True)
class DemoShot:
    """Panels side by side and at most one line; as long as the longer of line and dub, but not under `shortest_s`."""

    title: str
    panels: tuple[Panel, ...]
    line: Line | None = None
    shortest_s: float = 1.6


# espeak-ng voice by speaker: for the original and for the dub.
VOICES = {
    "captain": ("en-us+f3", "de+f3"),
    "colleague": ("en-us+f2", "de+f2"),
    "narrator": ("en-gb", "de"),
}

SCRIPT = (
    DemoShot(
        "the captain speaks, slow zoom",
        (Panel("captain", View(232, 150, 460), View(226, 140, 390)),),
        Line("captain", "This is your captain. All systems are set.", "Hier spricht der Kapitän. Alles ist bereit."),
    ),
    DemoShot("coffee, nobody speaks, pan", (Panel("coffee", View(250, 200, 440), View(350, 190, 440)),)),
    DemoShot(
        "two faces: the captain speaks, the colleague listens",
        (Panel("captain", View(226, 128, 238), View(224, 128, 230)), Panel("colleague", View(284, 128, 230), View(287, 128, 236))),
        Line("captain", "I say this, and she just listens.", "Das sage ich, und sie hört zu."),
    ),
    DemoShot(
        "a voice over a rocket, tilt",
        (Panel("rocket", View(320, 235, 520), View(320, 195, 420)),),
        Line("narrator", "Ten seconds to lift-off.", "Noch zehn Sekunden bis zum Start."),
    ),
    DemoShot(
        "the colleague listens to a voice off screen",
        (Panel("colleague", View(292, 145, 400), View(286, 142, 420)),),
        Line("narrator", "Nobody here says a word.", "Niemand hier sagt ein Wort."),
    ),
    DemoShot(
        "the captain speaks, pan",
        (Panel("captain", View(256, 145, 420), View(215, 145, 420)),),
        Line("captain", "Thank you for watching. Have a good flight.", "Danke fürs Zuschauen. Guten Flug."),
    ),
)
