"""Whatever is handed over as weights: a clear CheckpointError or the right weights. No code run, no memory beyond the file's size, no crash."""

import ast
import io
import json
import os
import pickle
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from wav2lip_core.checkpoint import (
    CheckpointError,
    ModelCard,
    describe,
    load_discriminator,
    load_generator,
    load_sync_expert,
    load_vgg_syncnet,
    read_state_dict,
    save_model,
)
from wav2lip_core.discriminator import DiscriminatorConfig, QualityDiscriminator
from wav2lip_core.generator import GeneratorConfig, LipGenerator
from wav2lip_core.sync_expert import ExpertConfig, SyncExpert
from wav2lip_core.vgg_syncnet import VggSyncNet, VggSyncNetConfig

TINY = 0.01
NETWORKS: dict[str, tuple[Callable[[], nn.Module], Callable[[Path], nn.Module], str]] = {
    "generator": (lambda: LipGenerator(GeneratorConfig(TINY)), load_generator, "lip generator"),
    "sync_expert": (lambda: SyncExpert(ExpertConfig(TINY)), load_sync_expert, "colour sync expert"),
    "discriminator": (lambda: QualityDiscriminator(DiscriminatorConfig(TINY)), load_discriminator, "visual quality discriminator"),
    "vgg_syncnet": (lambda: VggSyncNet(VggSyncNetConfig(TINY)), load_vgg_syncnet, "original VGG SyncNet"),
}
DISCRIMINATOR = QualityDiscriminator(DiscriminatorConfig(TINY))
CARD = ModelCard(name="tiny", kind="discriminator", data="none", licence="CC0-1.0", attribution="nobody")


def refused(path: Path, *words: str) -> str:
    """Every way in refuses the file with a message that names it and holds the words."""
    for enter in (load_generator, load_sync_expert, load_discriminator, load_vgg_syncnet, describe):
        with pytest.raises(CheckpointError) as error:
            enter(path)
        assert str(path) in str(error.value)
        for word in words:
            assert word in str(error.value), f"{enter.__name__}: {error.value}"
    return str(error.value)


def torch_bytes(content: object, as_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer, _use_new_zipfile_serialization=as_zip)
    return buffer.getvalue()


def rezipped(data: bytes, change: Callable[[str, bytes], bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    """A torch archive with members changed, and checksums that are right again."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(buffer, "w", method) as target:
        for name in source.namelist():
            target.writestr(name, change(name, source.read(name)))
    return buffer.getvalue()


def safetensors_bytes(header: dict | bytes, data: bytes = b"") -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


# --- files that are something else -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty (0 bytes)"]),
        (b"<!DOCTYPE html>\n<html><head><title>wav2lip.pth</title>" + b" " * 50_000, ["web page", "resolve"]),
        (b'\n\n<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>', ["server message"]),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 435807851\n", ["Git LFS pointer", "git lfs pull"]),
        (b"Google Drive can't scan this file for viruses.\n", ["text", "Google Drive"]),
        (b'{"error": "not found"}', ["text"]),
        (b"\x1f\x8b\x08\x00\x00\x00\x00\x00", ["gzip"]),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), ["89 50 4e 47"]),
        (b"PK\x05\x06" + bytes(18), ["empty zip"]),
        (b"\x00", ["begins with 00"]),
        (bytes(range(256)) * 40, ["no weights file"]),
    ],
    ids=["zero-byte", "html", "s3-error", "lfs-pointer", "text", "json", "gzip", "png", "empty-zip", "one-byte", "noise"],
)
def test_a_file_of_another_kind_is_named_for_what_it_is(content: bytes, words: list[str], tmp_path: Path) -> None:
    (tmp_path / "wav2lip.pth").write_bytes(content)
    refused(tmp_path / "wav2lip.pth", *words)


def test_a_missing_file_a_folder_and_a_pipe_are_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pth")
    refused(tmp_path / "absent.pth", "No such file")
    refused(tmp_path, "is not a file")
    refused(tmp_path / "pipe.pth", "is not a file")


def test_numpy_archives_and_other_zips_are_no_weights(tmp_path: Path) -> None:
    np.savez(tmp_path / "weights.npz", weight=np.zeros(3))
    refused(tmp_path / "weights.npz", "zip archive, but not of weights", "weight.npy")


def test_a_torchscript_program_is_recognised_not_run_and_the_way_to_convert_it_is_told(tmp_path: Path) -> None:
    path = tmp_path / "Wav2Lip-SD-GAN.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.zeros(1, 2)), path)
    refused(path, "TorchScript", "torch.jit.load", "state_dict()")


# --- damage ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", ["zip", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9, 0.999])
def test_a_download_that_broke_off_is_called_damaged_or_truncated(container: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    if container == "safetensors":
        save_model(path, DISCRIMINATOR, CARD)
        path.with_suffix(".json").unlink()
        whole = path.read_bytes()
    else:
        path = tmp_path / "weights.pth"
        whole = torch_bytes({"state_dict": DISCRIMINATOR.state_dict()}, as_zip=container == "zip")
    path.write_bytes(whole[: int(share * len(whole))])
    message = refused(path)
    assert any(word in message for word in ("damaged", "truncated")), message


def test_one_flipped_bit_in_the_weights_of_a_torch_file_is_found_by_its_checksum(tmp_path: Path) -> None:
    data = bytearray(torch_bytes(DISCRIMINATOR.state_dict()))
    weights = DISCRIMINATOR.face_encoder_blocks[2][0].conv_block[0].weight.detach().numpy().tobytes()  # pyright: ignore
    data[data.index(weights) + 1] ^= 1
    (tmp_path / "weights.pth").write_bytes(data)
    refused(tmp_path / "weights.pth", "does not match its checksum")


def test_one_flipped_bit_in_our_own_file_is_found_by_its_card(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_model(path, DISCRIMINATOR, CARD)
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)
    refused(path, "does not match weights.json")


# --- malice ------------------------------------------------------------------------------------------------------------------


class Evil:
    def __init__(self, call: Callable, *arguments: object) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple:
        return self.call, self.arguments


@pytest.mark.parametrize("container", ["zip", "legacy", "pickle-2", "pickle-5"])
@pytest.mark.parametrize("place", ["whole", "beside", "among", "as-name", "optimizer"])
def test_a_pickle_that_would_run_a_command_runs_nothing(container: str, place: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    evil = Evil(os.system, f"touch {marker}")
    state = DISCRIMINATOR.state_dict()
    content = {
        "whole": evil,
        "beside": {"evil": evil, "state_dict": state},
        "among": {"state_dict": {**state, "evil": evil}},
        "as-name": {evil: state},
        "optimizer": {"state_dict": state, "optimizer": {"state": [evil]}},
    }[place]
    path = tmp_path / "wav2lip.pth"
    if container.startswith("pickle"):
        path.write_bytes(pickle.dumps(content, protocol=int(container[-1])))
    else:
        path.write_bytes(torch_bytes(content, as_zip=container == "zip"))
    refused(path, "pickle" if container.startswith("pickle") else "system")
    assert not marker.exists()
    pickle.loads(pickle.dumps(evil))  # the trap does work where it is sprung
    assert marker.exists()


HARMLESS = [Evil(eval, "1"), Evil(bytearray, 10**12), Evil(torch.load, "x"), Evil(getattr, "x", "upper"), Evil(torch.zeros, 10**6)]


@pytest.mark.parametrize("evil", HARMLESS, ids=lambda evil: evil.call.__name__)
@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_no_function_is_called_however_harmless_it_looks(evil: Evil, as_zip: bool, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(torch_bytes({"state_dict": {"a": evil}}, as_zip))
    refused(tmp_path / "a.pth", "nothing was run")


def test_newer_pickle_instructions_do_not_slip_past_the_check(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    data = rezipped(torch_bytes({}), lambda name, data: pickle.dumps(Evil(os.system, f"touch {marker}"), 4) if name.endswith("data.pkl") else data)
    (tmp_path / "a.pth").write_bytes(data)
    refused(tmp_path / "a.pth", "nothing was run")
    assert not marker.exists()


def test_a_zip_bomb_is_refused_before_it_is_inflated(tmp_path: Path) -> None:
    whole = torch_bytes({"state_dict": {"a": torch.zeros(2_000_000)}})
    bomb = rezipped(whole, lambda _, data: data, zipfile.ZIP_DEFLATED)
    assert len(bomb) < len(whole) / 100
    (tmp_path / "bomb.pth").write_bytes(bomb)
    refused(tmp_path / "bomb.pth", "zip bomb")


@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_a_tensor_that_claims_more_than_the_file_holds_reads_nothing_beyond_it(as_zip: bool, tmp_path: Path) -> None:
    honest, claimed = b"M" + struct.pack("<H", 300), b"J" + struct.pack("<i", 300_000_000)
    data = torch_bytes({"state_dict": {"a": torch.zeros(300)}}, as_zip)
    changed = data.replace(honest, claimed)
    if as_zip:
        changed = rezipped(data, lambda name, member: member.replace(honest, claimed) if name.endswith("data.pkl") else member)
    assert changed.count(claimed) == 2 and honest not in changed  # noqa: PT018
    (tmp_path / "a.pth").write_bytes(changed)
    refused(tmp_path / "a.pth", "damaged")


def test_a_small_storage_stretched_to_a_huge_tensor_is_refused(tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1).expand(10**6, 10**6)}}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "unfolds to 4000000000000 bytes")


def test_tuples_nested_too_deep_to_hash_are_refused(tmp_path: Path) -> None:
    nested = b"\x80\x02}(" + b")" + b"\x85" * 2_000_000 + b"K\x01u."
    (tmp_path / "a.pth").write_bytes(rezipped(torch_bytes({}), lambda name, data: nested if name.endswith("data.pkl") else data))
    refused(tmp_path / "a.pth", "tuples")


@pytest.mark.parametrize("instruction", [b"\x8d" + struct.pack("<Q", 2**62), b"\x8d" + b"\xff" * 8, b"X" + struct.pack("<I", 2**32 - 1)])
def test_a_text_that_claims_more_than_the_file_holds_asks_for_no_memory(instruction: bytes, tmp_path: Path) -> None:
    legacy = torch_bytes({}, as_zip=False)
    (tmp_path / "a.pth").write_bytes(legacy[: legacy.index(b".") + 1] + b"\x80\x02" + instruction)
    refused(tmp_path / "a.pth", "damaged or truncated")


@pytest.mark.parametrize("change", ["comment", "prefix", "twin", "second-root"])
def test_an_archive_that_two_readers_could_see_differently_is_refused(change: str, tmp_path: Path) -> None:
    data = torch_bytes({"state_dict": DISCRIMINATOR.state_dict()})
    path = tmp_path / "a.pth"
    if change == "prefix":
        path.write_bytes(b"PK\x03\x04" + bytes(60) + data)
    else:
        path.write_bytes(data)
        with warnings.catch_warnings(), zipfile.ZipFile(path, "a") as archive:
            warnings.simplefilter("ignore")
            if change == "comment":
                archive.comment = b"x" * 40
            else:
                archive.writestr({"twin": "archive/DATA.pkl", "second-root": "other/data.pkl"}[change], b"\x80\x02}.")
    refused(path)


# --- safetensors -------------------------------------------------------------------------------------------------------------

F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


@pytest.mark.parametrize(
    ("data", "word"),
    [
        (struct.pack("<Q", 2**63) + b"{" + bytes(20), "header claims"),
        (struct.pack("<Q", 100_000_000) + b"{" + bytes(20), "header claims"),
        (safetensors_bytes(b'{"a": '), "damaged safetensors header"),
        (safetensors_bytes(b"{" + b'"a":[' * 100_000), "damaged safetensors header"),
        (safetensors_bytes(b'{"a":' + json.dumps(F32).encode() + b',"a":' + json.dumps(F32).encode() + b"}", bytes(8)), "twice"),
        (safetensors_bytes({"a": F32, "b": F32}, bytes(8)), "damaged safetensors"),
        (safetensors_bytes({"a": {**F32, "data_offsets": [8, 16]}}, bytes(16)), "damaged safetensors"),
        (safetensors_bytes({"a": {**F32, "shape": [2**62, 2**62]}}, bytes(8)), "damaged safetensors"),
        (safetensors_bytes({"a": {**F32, "shape": [-2]}}, bytes(8)), "damaged safetensors"),
        (safetensors_bytes({"a": {**F32, "dtype": "F99"}}, bytes(8)), "damaged safetensors"),
        (safetensors_bytes({"a": F32}, bytes(9)), "damaged safetensors"),
        (safetensors_bytes({"a": F32}, bytes(4)), "truncated"),
        (safetensors_bytes({"a": F32, "__metadata__": {"x": 1}}, bytes(8)), "damaged safetensors"),
        (safetensors_bytes({"a": F32, "__metadata__": [1]}, bytes(8)), "metadata"),
        (safetensors_bytes({"a": 3}, bytes(8)), "damaged safetensors"),
        (safetensors_bytes({"a": F32, "__metadata__": {"dubflow_card": "{"}}, bytes(8)), "card in its header is damaged"),
        (safetensors_bytes({}), "none at all"),
    ],
    ids=[
        "header-2**63", "header-100MB", "bad-json", "deep-json", "twins", "overlap", "hole", "overflow", "negative", "dtype", "tail", "short",
        "metadata-number", "metadata-list", "entry-number", "bad-card", "no-tensors",
    ],
)  # fmt: skip
def test_hostile_safetensors_are_refused(data: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"a\.safetensors") as error:
        describe(path)
    assert word in str(error.value)


def test_a_torch_file_named_safetensors_is_told_its_right_name(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(torch_bytes(DISCRIMINATOR.state_dict()))
    refused(tmp_path / "a.safetensors", "Rename it to .pth")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"config": {"width": 1e9, "face_size": 96}}, "width = 1000000000.0"),
        ({"config": {"width": "1", "face_size": 96}}, "width = '1'"),
        ({"config": {"width": TINY, "face_size": 97}}, "face_size must be"),
        ({"config": {"width": TINY, "depth": 3}}, "does not know"),
        ({"config": {"width": 0.5}}, "of another size"),
        ({"kind": "generator"}, "its card says generator"),
        ({"kind": "other"}, "damaged"),
        ({"evaluation": {"score": float("nan")}}, "damaged"),
        ({"weights_sha256": "0" * 64}, "does not match"),
        ({"surprise": 1}, "damaged"),
    ],
)
def test_a_card_that_does_not_fit_its_weights_is_refused(change: dict, word: str, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    card = save_model(path, DISCRIMINATOR, CARD)
    path.with_suffix(".json").write_text(json.dumps(card.model_dump(mode="json") | change))
    with pytest.raises(CheckpointError, match=r"a\.safetensors") as error:
        load_discriminator(path)
    assert word in str(error.value)


# --- weights that do not fit -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wanted", NETWORKS)
@pytest.mark.parametrize("found", NETWORKS)
def test_another_network_s_weights_are_recognised_and_the_difference_is_listed(wanted: str, found: str, tmp_path: Path) -> None:
    torch.save(NETWORKS[found][0]().state_dict(), tmp_path / "a.pth")
    load, title = NETWORKS[wanted][1:]
    if wanted == found:
        assert not load(tmp_path / "a.pth").training
        return
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "a.pth")
    assert f"holds a {NETWORKS[found][2]}" in str(error.value)
    assert f"but a {title}" in str(error.value)
    first_wanted, first_found = (next(iter(NETWORKS[kind][0]().state_dict())) for kind in (wanted, found))
    assert f"missing: {first_wanted}" in str(error.value) or first_wanted == first_found
    assert "unexpected: " in str(error.value)


def changed(**tensors: Tensor | None) -> dict[str, Tensor]:
    state: dict = DISCRIMINATOR.state_dict() | {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    return {name: tensor for name, tensor in state.items() if tensor is not None}


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (changed(binary_pred__0__bias=None), ["not all of it fits", "missing: binary_pred.0.bias", "unexpected: none"]),
        (changed(extra=torch.zeros(3)), ["not all of it fits", "missing: none", "unexpected: extra"]),
        (changed(binary_pred__0__bias=torch.zeros(2)), ["another size", "binary_pred.0.bias has shape (2,), not (1,)"]),
        (changed(binary_pred__0__bias=torch.tensor([float("nan")])), ["NaN or infinity in binary_pred.0.bias"]),
        (changed(binary_pred__0__bias=torch.tensor([float("-inf")])), ["NaN or infinity"]),
        (changed(binary_pred__0__bias=torch.tensor([1e300], dtype=torch.float64)), ["NaN or infinity"]),
        (changed(binary_pred__0__bias=torch.tensor([1])), ["binary_pred.0.bias as torch.int64", "weights are floats"]),
        (changed(binary_pred__0__bias=torch.tensor([1j])), ["Complex"]),
        (changed(binary_pred__0__bias=torch.zeros(1).to_sparse()), ["a.pth"]),
        ({"a": torch.zeros(2)}, ["an unknown network"]),
        ({}, ["not tensors by name"]),
        ([torch.zeros(2)], ["holds a list"]),
        (torch.zeros(2), ["holds a Tensor"]),
        ({"model": {"a": torch.zeros(2)}, "epoch": 3}, ["neither tensors by name nor a 'state_dict'", "model, epoch"]),
        ({"state_dict": {"a": torch.zeros(2), "b": [torch.zeros(2)]}}, ["b are no tensors"]),
        ({"a": torch.zeros(2), "module.a": torch.zeros(2)}, ["two tensors named a"]),
        ({1: torch.zeros(2)}, ["1 are no tensors"]),
    ],
    ids=[
        "key-missing", "key-unexpected", "shape", "nan", "inf", "too-large-for-float32", "integer", "complex", "sparse", "unknown", "empty",
        "list", "tensor", "other-wrapper", "nested", "same-name-twice", "number-as-name",
    ],
)  # fmt: skip
def test_weights_that_do_not_fit_are_refused_with_what_and_where(state: object, words: list[str], tmp_path: Path) -> None:
    torch.save(state, tmp_path / "a.pth")
    for enter in (load_discriminator, describe):
        with pytest.raises(CheckpointError) as error:
            enter(tmp_path / "a.pth")
        for word in [*words, "a.pth"]:
            assert word in str(error.value)


# --- chance ------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def intact(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    path = tmp_path_factory.mktemp("intact") / "a.safetensors"
    save_model(path, DISCRIMINATOR, CARD)
    state = DISCRIMINATOR.state_dict()
    return {"zip": torch_bytes({"state_dict": state}), "legacy": torch_bytes({"state_dict": state}, as_zip=False), "safetensors": path.read_bytes()}


Change = tuple[str, float, int, bool]  # what, where (as a share of the length), how much, whether near the beginning, where the structure lies
CHANGES = st.tuples(st.sampled_from(["flip", "set", "cut", "repeat"]), st.floats(0, 1, exclude_max=True), st.integers(0, 255), st.booleans())


def damaged(content: bytes, changes: list[Change]) -> bytes:
    out = bytearray(content)
    for kind, share, amount, early in changes:
        if not out:
            break
        where = int(share * (min(len(out), 4096) if early else len(out)))
        if kind == "flip":
            out[where] ^= 1 << amount % 8
        elif kind == "set":
            out[where] = amount
        elif kind == "cut":
            del out[where : where + amount + 1]
        else:
            out[where:where] = out[where : where + amount + 1]
    return bytes(out)


@pytest.mark.parametrize("container", ["zip", "pickle inside zip", "legacy", "safetensors"])
@given(changes=st.lists(CHANGES, min_size=1, max_size=4))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_bytes_changed_at_random_give_a_clear_error_or_a_network_of_finite_weights(
    container: str, changes: list[Change], intact: dict[str, bytes], tmp_path: Path
) -> None:
    """A torch zip has checksums, so what still loads is what was saved; where the pickle alone is changed, its checksum is made right again."""
    if container == "pickle inside zip":
        content = rezipped(intact["zip"], lambda name, member: damaged(member, changes) if name.endswith("data.pkl") else member)
    else:
        content = damaged(intact[container], changes)
    path = tmp_path / f"fuzzed.{container if container == 'safetensors' else 'pth'}"
    path.write_bytes(content)
    loaded, refusal = None, None
    try:
        loaded = load_discriminator(path)
    except CheckpointError as error:
        refusal = str(error)
    if loaded is None:
        assert refusal
        assert str(path) in refusal
        return
    weights = loaded.state_dict()
    assert all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())
    if container == "zip":
        assert all(torch.equal(tensor, weights[name]) for name, tensor in DISCRIMINATOR.state_dict().items())


# --- our own code ------------------------------------------------------------------------------------------------------------


UNPICKLERS = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}


def test_torch_files_are_opened_in_one_place_and_nothing_is_unpickled_anywhere() -> None:
    root = Path(__file__).parents[2]
    loads: list[tuple[str, ast.Call]] = []
    for source in (path for folder in ("flows", "tasks", "training", "wav2lip_core", "infra") for path in (root / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
                assert not {module.partition(".")[0] for module in modules} & UNPICKLERS, f"{source}:{node.lineno}"
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("torch.load", "torch.jit.load", "jit.load"):
                loads.append((str(source.relative_to(root)), node))
            if isinstance(node, ast.keyword) and node.arg in ("allow_pickle", "weights_only"):
                assert ast.unparse(node.value) == str(node.arg == "weights_only"), f"{source}:{node.value.lineno}"
    assert [where for where, _ in loads] == ["wav2lip_core/checkpoint.py"]
    assert "weights_only" in {keyword.arg for keyword in loads[0][1].keywords}


def test_the_plain_reader_runs_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(torch_bytes({"a": Evil(os.system, "true")}))
    with pytest.raises(CheckpointError, match="nothing was run"):
        read_state_dict(tmp_path / "a.pth")
