"""Bandits from files and from users' modules: what is read is what was written, bad input is one error."""

import csv
import io
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import pessimism as ps
from pessimism.shell.files import check_writable, parse_number, read_bandit, write_whole
from pessimism.shell.objects import load_bandit, load_object


@st.composite
def bandits(draw, batched: bool | None = None) -> ps.Bandit:
    arms = draw(st.integers(1, 5))
    shape = () if not batched and draw(st.booleans()) else (draw(st.integers(1, 4)),)
    number = st.floats(-1e300, 1e300, allow_subnormal=True)
    size = int(np.prod((*shape, arms)))
    weights = st.lists(st.floats(1e-3, 1.0), min_size=size, max_size=size)

    def policy():
        found = np.reshape(draw(weights), (*shape, arms))
        return found / found.sum(axis=-1, keepdims=True)

    reward = np.reshape(draw(st.lists(number, min_size=size, max_size=size)), (*shape, arms))
    return ps.Bandit(policy(), reward, policy() if draw(st.booleans()) else None)


def arrays(bandit: ps.Bandit) -> dict[str, np.ndarray]:
    found = {"behavior": bandit.behavior, "reward": bandit.reward}
    return found if bandit.reference is None else found | {"reference": bandit.reference}


def as_json(bandit: ps.Bandit) -> bytes:
    return json.dumps({name: array.tolist() for name, array in arrays(bandit).items()}).encode()


def as_npz(bandit: ps.Bandit) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **arrays(bandit))
    return buffer.getvalue()


def as_csv(bandit: ps.Bandit, order: np.random.Generator | None = None) -> bytes:
    """Columns, and with ``order`` also the interleaving of contexts, in any order; arms keep theirs."""
    columns = arrays(bandit)
    names = list(columns)
    rows = np.arange(bandit.reward.size).reshape(-1, bandit.arms)
    if bandit.batch_shape:
        names.insert(len(names) // 2, "context")
        count, arms = rows.shape
        # Every context appears once before any is continued, so that contexts keep their order.
        rest = np.repeat(np.arange(count), arms - 1)
        turns = [*range(count), *(rest if order is None else order.permutation(rest))]
        taken = dict.fromkeys(range(count), 0)
        sequence = []
        for context in turns:
            sequence.append(rows[context, taken[context]])
            taken[context] += 1
    else:
        sequence = rows[0].tolist()
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(names)
    for row in sequence:
        cells = {name: repr(float(array.flat[row])) for name, array in columns.items()}
        cells["context"] = f'prompt, "{row // bandit.arms}"'
        writer.writerow([cells[name] for name in names])
    return text.getvalue().encode()


def assert_same(read: ps.Bandit, written: ps.Bandit) -> None:
    np.testing.assert_array_equal(read.behavior, written.behavior)
    np.testing.assert_array_equal(read.reward, written.reward)
    assert (read.reference is None) == (written.reference is None)
    if written.reference is not None:
        np.testing.assert_array_equal(read.reference, written.reference)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("files")


@given(bandit=bandits(), suffix=st.sampled_from([".json", ".csv", ".npz", ".JSON"]))
def test_what_is_read_is_what_was_written(folder, bandit, suffix):
    path = folder / f"bandit{suffix}"
    path.write_bytes({".json": as_json, ".csv": as_csv, ".npz": as_npz}[suffix.lower()](bandit))
    assert_same(read_bandit(path), bandit)


@given(bandit=bandits(batched=True), seed=st.integers(0, 99))
def test_rows_of_a_context_need_not_be_adjacent(folder, bandit, seed):
    path = folder / "mixed.csv"
    path.write_bytes(as_csv(bandit, np.random.default_rng(seed)))
    assert_same(read_bandit(path), bandit)


def test_a_single_context_is_a_batch_of_one(tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("behavior,reward,context\n0.5,1,a\n0.5,2,a\n")
    assert read_bandit(path).batch_shape == (1,)


def test_files_of_spreadsheets_are_read(tmp_path):
    path = tmp_path / "sheet.csv"
    path.write_bytes(b"\xef\xbb\xbfBehavior ,reward\r\n".lower() + b' 0.25 ,"1"\r\n1/4,-2e0\r\n.5,+3\r\n\r\n,\r\n')
    assert read_bandit(path).behavior.tolist() == [0.25, 0.25, 0.5]
    assert read_bandit(path).reward.tolist() == [1, -2, 3]


ROW = '"behavior": [0.5, 0.5], "reward": '
BAD_JSON = {
    "": "the file is empty",
    "{": "not JSON: .* \\(line 1, column 2\\)",
    "[]": "outermost value is a list; it must be an object with the keys behavior, reward, reference",
    "true": "outermost value is true",
    '{"behavior": [1]}': "the key 'reward' is missing",
    f'{{{ROW}[0, 1], "rewards": 1}}': "unknown key 'rewards'; known: behavior, reward, reference",
    f'{{{ROW}[0, 1], "reward": [0, 1]}}': "the key 'reward' appears twice",
    f'{{{ROW}[0, "1"]}}': "reward\\[1\\] is a text; it must be a number or a list",
    f"{{{ROW}[0, null]}}": "reward\\[1\\] is null",
    f"{{{ROW}[0, true]}}": "reward\\[1\\] is true",
    f"{{{ROW}7}}": "reward is a number; it must be a list of numbers",
    f"{{{ROW}[[0, 1], [0]]}}": "reward\\[1\\] has shape \\(1,\\) where reward\\[0\\] has \\(2,\\)",
    f"{{{ROW}[[0, 1], 2]}}": "reward\\[1\\] has shape \\(\\) where",
    f"{{{ROW}[0, NaN]}}": "NaN is not JSON",
    f"{{{ROW}[0, -Infinity]}}": "-Infinity is not JSON",
    f"{{{ROW}[0, 1e999]}}": "reward\\[1\\] is inf; every entry must be a finite number",
    f"{{{ROW}[0, 1{'0' * 400}]}}": "reward\\[1\\] is too large",
    f"{{{ROW}[0, 1{'0' * 5000}]}}": "integer",
    f"{{{ROW}[0, 1, 2]}}": "behavior has 2, reward has 3",
    f"{{{ROW}[]}}": "reward has shape \\(0,\\)",
    f"{{{ROW}{'[' * 40}1{']' * 40}}}": "reward: lists are nested more than 32 deep",
    f"{{{ROW}{'[' * 100_000}1{']' * 100_000}}}": "nested more than 32 deep",
    '{"behavior": [0.5, 0.6], "reward": [0, 1]}': "behavior sums to 1.1",
}
BAD_CSV = {
    "": "the file is empty",
    "\n\n": "the file is empty",
    "behavior,reward\n": "a header, but no arm below it",
    "0.5,1\n0.5,2\n": "unknown column '0.5'; known: behavior, reward, reference, context",
    "behavior;reward\n0.5;1\n": "unknown column .* \\(cells are separated by commas\\)",
    "behavior\n1\n": "the column 'reward' is missing",
    "behavior,reward,reward\n1,2,3\n": "the column 'reward' appears twice",
    "behavior,reward\n0.5,1\n0.5\n": "line 3 has 1 cells where the header has 2 columns",
    "behavior,reward\n0.5,1\n\n0.5,x\n": "line 4, column reward: 'x' is not a finite number",
    "behavior,reward\n0.5,1\n0.5,\n": "line 3, column reward: '' is not a finite number",
    "behavior,reward\n1,nan\n": "line 2, column reward: 'nan' is not a finite number",
    "behavior,reward\n1,1_000\n": "'1_000' is not a finite number",
    "behavior,reward\n1,٣\n": "'٣' is not a finite number",
    "behavior,reward\n1,1e999\n": "'1e999' is not a finite number",
    "behavior,reward\n1,1/0\n": "'1/0' is not a finite number",
    'behavior,reward\n1,"2\n': "not CSV: unexpected end of data",
    'behavior,reward\n1,"2"2\n': "not CSV: .* \\(line 2\\)",
    "behavior,reward\n1,2\0\n": "finite number|not CSV",
    "context,behavior,reward\na,1,0\nb,.5,0\nb,.5,0\n": "context 'b' has 2 arms where context 'a' has 1",
    "context,behavior,reward\na,1,0\nb,.5,0\n": "behavior\\[1\\] sums to 0.5",
}


@pytest.mark.parametrize(("text", "message"), BAD_JSON.items(), ids=[text[:40] for text in BAD_JSON])
def test_a_bad_json_file_is_one_clear_error(tmp_path, text, message):
    assert_bad(tmp_path / "bad.json", text.encode(), message)


@pytest.mark.parametrize(("text", "message"), BAD_CSV.items(), ids=[text[:40] for text in BAD_CSV])
def test_a_bad_csv_file_is_one_clear_error(tmp_path, text, message):
    assert_bad(tmp_path / "bad.csv", text.encode(), message)


def npz(**found) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **found)
    return buffer.getvalue()


def test_a_bad_npz_file_is_one_clear_error(tmp_path):
    good = as_npz(ps.Bandit(np.full(50, 0.02), np.arange(50)))
    single = io.BytesIO()
    np.save(single, np.eye(2))
    path = tmp_path / "bad.npz"
    assert_bad(path, b"", "the file is empty")
    assert_bad(path, b"neither numpy nor zip", "not NPZ, or damaged: it is no zip archive")
    assert_bad(path, single.getvalue(), "not NPZ: a single array")
    assert_bad(path, npz(behavior=[1.0]), "the array 'reward' is missing")
    assert_bad(path, npz(behavior=[1.0], reward=[1.0], policy=[1.0]), "unknown array 'policy'")
    assert_bad(path, npz(behavior=[1.0], reward=["1.0"]), "reward has dtype <U3; it must be integer or floating-point")
    assert_bad(path, npz(behavior=[1.0], reward=[True]), "reward has dtype bool")
    assert_bad(path, npz(behavior=[1.0], reward=[1j]), "reward has dtype complex128")
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        archive.writestr("behavior", "1.0")
        archive.writestr("reward", "1.0")
    assert_bad(path, raw.getvalue(), "behavior is no array in numpy's format")
    for cut in range(1, len(good), 37):
        assert_bad(path, good[:cut], "damaged")


def test_nothing_is_unpickled(tmp_path):
    ran = tmp_path / "ran"

    class Harmful:
        def __reduce__(self):
            return (Path.touch, (ran,))

    hostile = npz(behavior=np.array([Harmful()], dtype=object), reward=[1.0])
    assert_bad(tmp_path / "hostile.npz", hostile, "allow_pickle=False")
    assert not ran.exists()


def test_an_array_that_claims_to_be_huge_is_an_error(tmp_path):
    buffer = io.BytesIO()
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000000,), }"
    header += b" " * (117 - len(header)) + b"\n"
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in ("behavior", "reward"):
            archive.writestr(f"{name}.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    assert_bad(tmp_path / "huge.npz", buffer.getvalue(), "memory|damaged|EOF")


def assert_bad(path: Path, content: bytes, message: str) -> None:
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        read_bandit(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=200), st.sampled_from([".json", ".csv", ".npz"]))
def test_any_bytes_are_a_bandit_or_a_value_error(folder, content, suffix):
    path = folder / f"noise{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="noise"):
        read_bandit(path)


def test_paths_that_are_no_files(tmp_path):
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(ValueError, match=r"folder\.json: Is a directory"):
        read_bandit(tmp_path / "folder.json")
    with pytest.raises(ValueError, match=r"missing\.csv: No such file"):
        read_bandit(tmp_path / "missing.csv")
    with pytest.raises(ValueError, match=r"the suffix is '\.txt'; it must be one of \.json, \.csv, \.npz"):
        read_bandit(tmp_path / "bandit.txt")


def test_other_encodings_are_named(tmp_path):
    text = "behavior,reward\n1,2\n"
    assert_bad(tmp_path / "wide.csv", text.encode("utf-16"), "not UTF-8 text \\(byte 0xff at position 0\\)")
    assert_bad(tmp_path / "latin.json", '{"é": 1}'.encode("latin-1"), "byte 0xe9 at position 2")


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_survive_their_text(number):
    assert parse_number(repr(number), "x") == number


# --- objects --------------------------------------------------------------------------------------------------------

MODULE = """
import pessimism as ps
made = ps.Bandit([0.5, 0.5], [0, 1])
def make(): return made
def needs(size): return made
def fails(): raise KeyError("lost")
def leaves(): raise SystemExit(3)
def wrong(): return 7
class space: inner = made
"""


@pytest.fixture
def users_folder(tmp_path, monkeypatch):
    (tmp_path / "users_module.py").write_text(MODULE)
    (tmp_path / "broken_module.py").write_text("x = (1,\n")
    (tmp_path / "raising_module.py").write_text("import users_module\n1 / 0\n")
    (tmp_path / "needing_module.py").write_text("import no_such_package_anywhere\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    for name in ("users_module", "broken_module", "raising_module", "needing_module"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", ["made", "make", "space.inner"])
def test_objects_and_functions_are_found(users_folder, name):
    assert load_bandit(f"users_module:{name}").reward.tolist() == [0, 1]


def test_arguments_reach_the_function(users_folder):
    assert load_object("users_module:needs", ps.Bandit, size=3.0).arms == 2


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("users_module:nothing", "module 'users_module' has no 'nothing'"),
        ("users_module:space.outer", "module 'users_module' has no 'space.outer'"),
        ("users_module:needs", "missing a required argument: 'size'; it must be of type Bandit, or a function"),
        ("users_module:fails", r"KeyError: 'lost' \(users_module.py, line 6\)"),
        ("users_module:leaves", r"called sys.exit\(3\)"),
        ("users_module:wrong", "returns an object of type int; it must be of type Bandit"),
        ("users_module:ps", "is of type module; it must be of type Bandit"),
        ("missing_module:x", "no module 'missing_module' in the current directory"),
        ("users_module.sub:x", "No module named 'users_module.sub'|no module 'users_module.sub'"),
        ("broken_module:x", r"SyntaxError: .* \(broken_module.py, line 1\)"),
        ("raising_module:x", r"ZeroDivisionError: .* \(raising_module.py, line 2\)"),
        ("needing_module:x", "No module named 'no_such_package_anywhere'"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(users_folder, where, message):
    with pytest.raises(ValueError, match=message) as caught:
        load_bandit(where)
    assert where.partition(":")[0] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_finished_object_takes_no_arguments(users_folder):
    with pytest.raises(ValueError, match="is a finished Bandit; it takes no size"):
        load_object("users_module:made", ps.Bandit, size=3.0)


def test_a_name_without_a_colon_is_no_object():
    with pytest.raises(ValueError, match="not of the form module:name"):
        load_object("users_module", ps.Bandit)


# --- writing --------------------------------------------------------------------------------------------------------


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "result.json"
    write_whole(path, b"old")
    write_whole(path, b"new")
    assert path.read_bytes() == b"new"

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(ValueError, match=r"result\.json: No space left"):
        write_whole(path, b"newer")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["result.json"]


def test_links_are_followed_and_modes_are_ordinary(tmp_path):
    (tmp_path / "real").mkdir()
    link = tmp_path / "link.json"
    link.symlink_to(tmp_path / "real" / "result.json")
    write_whole(link, b"1")
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    assert link.is_symlink()
    assert (tmp_path / "real" / "result.json").read_bytes() == b"1"
    assert stat.S_IMODE(link.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)


def test_devices_are_written_to_and_stay(tmp_path):
    write_whole(os.devnull, b"gone")
    assert not Path(os.devnull).is_file()
    assert Path(os.devnull).exists()


def test_places_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="is a folder, not a file"):
        check_writable(tmp_path)
    with pytest.raises(ValueError, match="there is no folder"):
        check_writable(tmp_path / "none" / "result.json")
