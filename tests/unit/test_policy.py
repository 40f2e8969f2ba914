"""The verdict policy: the package's own is whole, a studio's is laid over it, and a bad one is refused with its key and line."""

from pathlib import Path

import pytest

from infra.errors import InputError
from tasks.policy import package_policy, read_policy

OWN_NAME = 'name = "studio"\nversion = 3\n'


def policy_file(folder: Path, text: str) -> Path:
    path = folder / "policy.toml"
    path.write_text(text)
    return path


def test_the_package_has_a_policy_with_a_severity_for_every_code_and_it_is_the_default() -> None:
    policy = read_policy(None)
    assert policy == package_policy()
    assert (policy.name, policy.version) == ("dubflow", 1)
    assert policy.severity["worse_than_undubbed"] == "blocker"
    assert "worse_than_undubbed" in policy.ladder.keep_original_when


def test_a_studio_names_only_what_differs_and_lists_are_replaced_as_a_whole(tmp_path: Path) -> None:
    rung = '[[ladder.rungs]]\nname = "ours"\nwhen = ["offset"]\nmodel = "other"\n'
    policy = read_policy(policy_file(tmp_path, f"{OWN_NAME}[sync]\nmax_offset_frames = 1\n[severity]\nleak = 'blocker'\n{rung}"))
    assert policy.sync.max_offset_frames == 1
    assert policy.sync.min_share_of_original == package_policy().sync.min_share_of_original
    assert policy.severity["leak"] == "blocker"
    assert policy.severity["offset"] == package_policy().severity["offset"]
    assert [each.name for each in policy.ladder.rungs] == ["ours"]
    assert policy.model_names == ("other",)


def test_a_policy_is_named_by_what_it_says_not_by_its_comments(tmp_path: Path) -> None:
    plain = read_policy(policy_file(tmp_path, OWN_NAME)).sha256
    assert read_policy(policy_file(tmp_path, f"# ours\n{OWN_NAME}")).sha256 == plain
    assert read_policy(policy_file(tmp_path, f"{OWN_NAME}[sync]\nmax_offset_frames = 3\n")).sha256 != plain


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{OWN_NAME}[sync]\nmax_offset_frames = "two"\n', r"line 4, sync\.max_offset_frames: .*integer"),
        (f"{OWN_NAME}[sync]\nmax_offset_frames = 99\n", r"line 4, sync\.max_offset_frames: .*15"),
        (f"{OWN_NAME}\n[picture]\n# ours\nmax_seem = 3\n", r"line 6, picture\.max_seem: .*not permitted"),
        (f"{OWN_NAME}[severity]\nseam = 'bad'\n", r"line 4, severity\.seam: .*'blocker'"),
        (f"{OWN_NAME}[[ladder.rungs]]\nname='a'\nwhen=[]\n[[ladder.rungs]]\nname='b'\nwhen=['ofset']\n", r"line 8, ladder\.rungs\.1\.when"),
        (f"{OWN_NAME}[[ladder.rungs]]\nname='a'\nwhen=[]\n[[ladder.rungs]]\nname='a'\nwhen=[]\n", r"two rungs are named 'a'"),
        (f"{OWN_NAME}[sync]\nmin_share_of_original = nan\n", r"line 4, sync\.min_share_of_original"),
        ("version = 1\n", "lacks the key 'name'"),
        ("name = 'x'\n", "lacks the key 'version'"),
        (f"format = 2\n{OWN_NAME}", r"line 1, format"),
        ("name = \n", r"no TOML file: .*line 1"),
        ('{"name": "json"}', "no TOML file"),
    ],
)
def test_a_bad_policy_is_refused_with_its_key_and_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        read_policy(policy_file(tmp_path, text))
    assert "policy.toml" in str(error.value)


def test_a_policy_that_is_no_text_or_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_bytes(b"\xff\xfe\x00name")
    with pytest.raises(InputError, match="no TOML file"):
        read_policy(tmp_path / "policy.toml")
    with pytest.raises(InputError, match="cannot be read"):
        read_policy(tmp_path / "absent.toml")
