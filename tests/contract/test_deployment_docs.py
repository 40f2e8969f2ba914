"""The pages on setting up say only what there is: every file, command, option and setting they name exists."""

import re
from pathlib import Path

import pytest
import typer

from flows.cli import app
from infra.settings import PREFIX, Settings

REPOSITORY = Path(__file__).parents[2]
PAGES = [REPOSITORY / "docs" / f"{name}.md" for name in ("laptop", "team-server", "kubernetes", "sizing")]


def names(pages=PAGES):
    return [path.name for path in pages]


def commands(text: str) -> list[list[str]]:
    """The words of every `dub ...` in code, without their remarks."""
    code = re.findall(r"^    (.*)$", text, re.M) + re.findall(r"`([^`\n]+)`", text)
    lines = [re.sub(r"\s{2,}#.*", "", line) for line in code]
    return [line[found.end() :].split() for line in lines if (found := re.match(r"(?:export .*|\S*/)?dub (?=[a-z])", line))]


def unknown(words: list[str]) -> list[str]:
    """What of a command line `dub` would not know."""
    command = typer.main.get_command(app)
    while (group := getattr(command, "commands", None)) and words:
        if words[0] not in group:
            return words[:1]
        command, words = group[words[0]], words[1:]
    options = {option for parameter in command.params for option in parameter.opts}
    return [word for word in words if word.startswith("--") and word not in options]


@pytest.mark.parametrize("page", PAGES, ids=names())
def test_every_command_named_is_one_with_these_options(page):
    found = commands(page.read_text())
    assert found
    assert [(words, wrong) for words in found if (wrong := unknown(words))] == []


def test_an_unknown_command_or_option_would_be_noticed():
    assert unknown(["dubb"]) == ["dubb"]
    assert unknown(["schedule", "add", "x.csv", "--crn", "x"]) == ["--crn"]


@pytest.mark.parametrize("page", PAGES, ids=names())
def test_every_file_named_is_there(page):
    text = page.read_text()
    files = set(re.findall(r"(?<![\w/.-])((?:infra|docs|benchmarks|flows)/[\w./-]+\w)", text)) - {"infra/.env"}
    linked = {f"docs/{target}" for target in re.findall(r"\]\(([\w-]+\.md)\)", text)}
    assert [name for name in files | linked if not (REPOSITORY / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=names())
def test_every_setting_named_is_one(page):
    named = set(re.findall(rf"{PREFIX}[A-Z_0-9]+", page.read_text()))
    assert named - {f"{PREFIX}{name}".upper() for name in Settings.model_fields} == set()


@pytest.mark.parametrize("page", PAGES, ids=names())
def test_a_page_is_one_page(page):
    assert len(page.read_text().splitlines()) <= 75


def test_secrets_written_beside_the_compose_file_stay_out_of_git():
    assert "/infra/.env" in (REPOSITORY / ".gitignore").read_text().splitlines()
