"""Patches observe functions of other packages, and can be taken back without a trace."""

from __future__ import annotations

import functools
import importlib
import logging
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nemotron.kit.patches.engine import Patcher, look
from nemotron.kit.patches.patch import Call, Patch, State

SOURCE = '''
__version__ = "1.2.0"
CALLS = []

def save(path, folder, step=None, *, writer=None):
    """Save."""
    CALLS.append((path, folder, step, writer))
    if path == "fails":
        raise ValueError("the disk is full")
    return f"saved {path}"

def caller(path):
    return save(path, "folder")

class Base:
    def method(self, path):
        return f"base {path}"

class Child(Base):
    @staticmethod
    def fixed(path):
        return f"fixed {path}"

    @classmethod
    def made(cls, path):
        return f"{cls.__name__} {path}"
'''


@pytest.fixture
def framework(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A package that is not imported yet; its name."""
    name = f"frame_{tmp_path.name.replace('-', '_')}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    (tmp_path / name / "work.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield name
    for each in [each for each in sys.modules if each.startswith(name)]:
        del sys.modules[each]


@pytest.fixture
def patcher() -> Iterator[Patcher]:
    with Patcher() as patcher:
        yield patcher


def _patch(framework: str, name: str = "save", **facts: Any) -> Patch:
    known: dict[str, Any] = {
        "name": f"{framework}-{name}",
        "package": framework,
        "distribution": framework,
        "install": "pip install it",
        "versions": ">=1,<2",
        "target": f"{framework}.work:{name}",
        "parameters": ("path", "folder"),
        "why": "a test",
        "upstream": "none",
        "remove_when": "never",
    }
    return Patch(**{**known, **facts})


def _method(framework: str, name: str, **facts: Any) -> Patch:
    return _patch(framework, name, parameters=facts.pop("parameters", ("path",)), **facts)


def _import(framework: str) -> Any:
    return importlib.import_module(f"{framework}.work")


def _noted(notes: list[Any]) -> Callable[[Call, Any, Any], object]:
    return lambda call, token, result: notes.append((call["path"], token, result))


def test_call_is_observed_with_its_result(framework: str, patcher: Patcher) -> None:
    notes: list[Any] = []
    work = _import(framework)
    patch = _patch(framework, before=lambda call: call["folder"], after=_noted(notes))
    assert patcher.apply(patch).state is State.APPLIED
    assert work.save("a", folder="f", step=3) == "saved a"
    assert work.caller("b") == "saved b"
    assert notes == [("a", "f", "saved a"), ("b", "folder", "saved b")]
    assert work.CALLS == [("a", "f", 3, None), ("b", "folder", None, None)]


def test_module_is_patched_when_it_is_imported_and_not_before(
    framework: str, patcher: Patcher
) -> None:
    notes: list[Any] = []
    assert patcher.apply(_patch(framework, after=_noted(notes))).state is State.WAITING
    assert f"{framework}.work" not in sys.modules
    assert framework not in sys.modules
    from importlib import import_module

    work = import_module(f"{framework}.work")
    work.save("a", "f")
    assert [note[0] for note in notes] == ["a"]
    assert [status.state for status in patcher.statuses()] == [State.APPLIED]


def test_copies_made_during_the_import_see_the_wrapper(
    framework: str, patcher: Patcher, tmp_path: Path
) -> None:
    (tmp_path / framework / "user.py").write_text(
        f"from {framework}.work import save\ndef act(): return save('a', 'f')\n"
    )
    notes: list[Any] = []
    patcher.apply(_patch(framework, after=_noted(notes)))
    importlib.import_module(f"{framework}.user").act()
    assert len(notes) == 1


def test_applied_twice_is_applied_once(framework: str, patcher: Patcher) -> None:
    notes: list[Any] = []
    work = _import(framework)
    patch = _patch(framework, after=_noted(notes))
    patcher.apply(patch)
    assert patcher.apply(patch).state is State.ALREADY
    with Patcher() as another:
        assert another.apply(patch).state is State.ALREADY
        work.save("a", "f")
    work.save("b", "f")
    assert len(notes) == 2


def test_waiting_twice_is_applied_once(framework: str, patcher: Patcher) -> None:
    notes: list[Any] = []
    patch = _patch(framework, after=_noted(notes))
    patcher.apply(patch)
    assert patcher.apply(patch).state is State.WAITING
    with Patcher() as another:
        another.apply(patch)
        _import(framework).save("a", "f")
    assert len(notes) == 1


@pytest.mark.parametrize("name", ["Child.fixed", "Child.made", "Base.method"])
def test_revert_puts_back_the_very_object(framework: str, patcher: Patcher, name: str) -> None:
    work = _import(framework)
    owner = getattr(work, name.partition(".")[0])
    attribute = name.partition(".")[2]
    before = vars(owner)[attribute]
    parameters = {"Child.fixed": ("path",), "Child.made": ("cls", "path")}.get(
        name, ("self", "path")
    )
    patch = _method(framework, name, parameters=parameters)
    assert patcher.apply(patch).state is State.APPLIED
    assert vars(owner)[attribute] is not before
    assert getattr(work.Child(), attribute)("x").endswith("x")
    patcher.revert(patch)
    assert vars(owner)[attribute] is before
    assert getattr(work.Child(), attribute)("x").endswith("x")


def test_inherited_method_leaves_nothing_behind(framework: str, patcher: Patcher) -> None:
    work = _import(framework)
    notes: list[Any] = []
    patch = _method(framework, "Child.method", parameters=("self", "path"), after=_noted(notes))
    patcher.apply(patch)
    work.Child().method("a")
    work.Base().method("b")
    assert [note[0] for note in notes] == ["a"]
    patcher.revert(patch)
    assert "method" not in vars(work.Child)


def test_closing_awaits_nothing_any_more(framework: str) -> None:
    notes: list[Any] = []
    finders = list(sys.meta_path)
    with Patcher() as patcher:
        patcher.apply(_patch(framework, after=_noted(notes)))
    assert sys.meta_path == finders
    _import(framework).save("a", "f")
    assert notes == []


def test_foreign_patch_on_top_stays_and_ours_sees_nothing(framework: str, patcher: Patcher) -> None:
    work = _import(framework)
    notes: list[Any] = []
    patch = _patch(framework, after=_noted(notes))
    patcher.apply(patch)
    ours = work.save

    def theirs(path: str, folder: str) -> str:
        return f"theirs {ours(path, folder)}"

    work.save = theirs
    patcher.revert(patch)
    assert work.save is theirs
    assert work.save("a", "f") == "theirs saved a"
    assert notes == []


def test_patch_below_a_foreign_one_can_be_applied_and_reverted_again(
    framework: str, patcher: Patcher
) -> None:
    import functools

    work = _import(framework)
    notes: list[Any] = []
    patch, before = _patch(framework, after=_noted(notes)), work.save
    patcher.apply(patch)
    ours = work.save

    @functools.wraps(ours)
    def theirs(path: str, folder: str) -> str:
        return f"theirs {ours(path, folder)}"

    work.save = theirs
    for _ in range(2):
        patcher.revert(patch)
        work.save("unseen", "f")
        assert patcher.apply(patch).state is State.APPLIED
        work.save("seen", "f")
    work.save = ours  # theirs is taken back
    patcher.revert(patch)
    assert work.save is before
    assert [path for path, *_ in notes] == ["seen", "seen"]


def test_patch_that_was_taken_back_before_the_import_is_not_applied(
    framework: str, patcher: Patcher
) -> None:
    notes: list[Any] = []
    patch = _patch(framework, after=_noted(notes))
    assert patcher.apply(patch).state is State.WAITING
    patcher.revert(patch)
    _import(framework).save("a", "f")
    assert notes == []


@pytest.mark.parametrize("when", ["before the import", "below a foreign patch", "afterwards"])
def test_of_two_patches_of_one_name_the_last_one_counts(
    framework: str, patcher: Patcher, when: str
) -> None:
    old: list[Any] = []
    new: list[Any] = []
    if when != "before the import":
        _import(framework)
    first, second = (_patch(framework, after=_noted(notes)) for notes in (old, new))
    patcher.apply(first)
    if when == "below a foreign patch":
        work = _import(framework)
        ours = work.save
        work.save = functools.wraps(ours)(functools.partial(ours))
    patcher.revert(first)
    patcher.apply(second)
    _import(framework).save("a", "f")
    assert (len(old), len(new)) == (0, 1)


def test_patching_while_another_thread_is_in_the_import_waits_for_it(
    framework: str, tmp_path: Path, patcher: Patcher
) -> None:
    """That thread waits for the patcher, too: neither may hold what the other needs."""
    slow = tmp_path / framework / "slow.py"
    slow.write_text("import sys\ndef save(path, folder): ...\nsys.is_in.set()\nsys.go_on.wait(5)\n")
    is_in, go_on = threading.Event(), threading.Event()
    vars(sys).update(is_in=is_in, go_on=go_on)
    try:
        patch = _patch(framework, target=f"{framework}.slow:save")
        patcher.apply(patch)
        name = f"{framework}.slow"
        importing = threading.Thread(target=importlib.import_module, args=(name,), daemon=True)
        importing.start()
        assert is_in.wait(5)
        applying = threading.Thread(target=patcher.apply, args=(patch,), daemon=True)
        applying.start()
        applying.join(0.1)  # it waits for the import now
        go_on.set()
        applying.join(5)
        importing.join(5)
        assert not applying.is_alive()
        assert not importing.is_alive()
        assert [each.state for each in patcher.statuses()] == [State.APPLIED]
    finally:
        del vars(sys)["is_in"], vars(sys)["go_on"]


def test_import_that_fails_in_another_thread_reaches_nobody_who_patches(
    framework: str, tmp_path: Path, patcher: Patcher
) -> None:
    (tmp_path / framework / "broken.py").write_text(
        "import sys\nsys.is_in.set()\nsys.go_on.wait(5)\nraise RuntimeError('no GPU')\n"
    )
    is_in, go_on = threading.Event(), threading.Event()
    vars(sys).update(is_in=is_in, go_on=go_on)
    name, found = f"{framework}.broken", []

    def load() -> None:
        with pytest.raises(RuntimeError, match="no GPU"):
            importlib.import_module(name)

    def apply() -> None:
        found.append(patcher.apply(_patch(framework, target=f"{name}:save")).state)

    try:
        importing = threading.Thread(target=load, daemon=True)
        importing.start()
        assert is_in.wait(5)
        applying = threading.Thread(target=apply, daemon=True)
        applying.start()
        applying.join(0.1)  # it waits for the import now
        go_on.set()
        for thread in (importing, applying):
            thread.join(5)
        assert found == [State.WAITING]
    finally:
        del vars(sys)["is_in"], vars(sys)["go_on"]


def test_module_that_somebody_forbade_is_not_imported(
    framework: str, patcher: Patcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``sys.modules["wandb"] = None`` is how a script does without it."""
    patch = _patch(framework)
    monkeypatch.setitem(sys.modules, patch.module, None)
    assert patcher.apply(patch).state is State.WAITING


def test_patch_below_a_foreign_one_is_taken_back_by_who_applied_it_last(framework: str) -> None:
    notes: list[Any] = []
    work = _import(framework)
    patch = _patch(framework, after=_noted(notes))
    with Patcher() as first:
        first.apply(patch)
        ours = work.save
        work.save = functools.wraps(ours)(functools.partial(ours))
    with Patcher() as second:
        assert second.apply(patch).state is State.APPLIED
        work.save("a", "f")
    work.save("b", "f")
    assert len(notes) == 1


def test_foreign_patch_below_runs_too(framework: str, patcher: Patcher) -> None:
    import functools

    work = _import(framework)
    notes: list[Any] = []
    below = work.save

    @functools.wraps(below)
    def theirs(*args: Any, **kwargs: Any) -> str:
        return f"theirs {below(*args, **kwargs)}"

    work.save = theirs
    assert patcher.apply(_patch(framework, after=_noted(notes))).state is State.APPLIED
    assert work.save("a", "f") == "theirs saved a"
    assert notes == [("a", None, "theirs saved a")]


def test_what_the_function_raises_is_passed_on(framework: str, patcher: Patcher) -> None:
    work = _import(framework)
    notes: list[Any] = []
    ended: list[Any] = []
    patch = _patch(framework, after=_noted(notes), always=lambda call, _: ended.append(call))
    patcher.apply(patch)
    with pytest.raises(ValueError, match="the disk is full"):
        work.save("fails", "f")
    assert notes == []
    assert len(ended) == 1


def test_observer_that_raises_is_logged_and_counted(
    framework: str, patcher: Patcher, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no good")

    work = _import(framework)
    patch = _patch(framework, before=fail, after=fail, always=fail)
    patcher.apply(patch)
    assert work.save("a", "f") == "saved a"
    assert patcher.failures(patch) == 3
    assert "no good" in caplog.text
    assert "training goes on" in caplog.text


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_interrupts_pass_through(
    framework: str, patcher: Patcher, kind: type[BaseException]
) -> None:
    def interrupt(_: Call) -> None:
        raise kind

    work = _import(framework)
    patcher.apply(_patch(framework, before=interrupt))
    with pytest.raises(kind):
        work.save("a", "f")


def test_observer_does_not_observe_itself(framework: str, patcher: Patcher) -> None:
    work = _import(framework)
    notes: list[Any] = []

    def again(call: Call) -> None:
        notes.append(call["path"])
        work.save("again", "f")

    patcher.apply(_patch(framework, before=again))
    work.save("a", "f")
    assert notes == ["a"]


def test_threads_observe_independently(framework: str, patcher: Patcher) -> None:
    work = _import(framework)
    notes: list[Any] = []
    patcher.apply(_patch(framework, after=_noted(notes)))
    threads = [
        threading.Thread(target=lambda: [work.save("a", "f") for _ in range(100)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(notes) == 400


def test_wrapper_keeps_name_doc_and_signature_and_can_be_pickled(
    framework: str, patcher: Patcher
) -> None:
    import inspect
    from types import FunctionType

    work = _import(framework)
    before = inspect.signature(work.save)
    patcher.apply(_patch(framework))
    assert (work.save.__name__, work.save.__doc__) == ("save", "Save.")
    assert inspect.signature(work.save) == before
    assert isinstance(work.save, FunctionType)
    assert pickle.loads(pickle.dumps(work.save)) is work.save


@pytest.mark.parametrize(
    ("facts", "state", "reason"),
    [
        ({"package": "no_such_package", "target": "no_such_package.work:save"}, State.ABSENT,
         "not installed"),
        ({"versions": ">=2"}, State.UNSUPPORTED, "1.2.0 is installed, and >=2 is known"),
        ({"parameters": ("folder", "path")}, State.DRIFTED, "was expected"),
        ({"target": "{}.work:gone"}, State.DRIFTED, "there is no gone"),
        ({"target": "{}.gone:save"}, State.DRIFTED, "has no module"),
    ],
)  # fmt: skip
def test_nothing_is_guessed(
    framework: str, patcher: Patcher, facts: dict[str, Any], state: State, reason: str
) -> None:
    (Path(sys.path[0]) / framework / "package_info.py").write_text('__version__ = "1.2.0"\n')
    importlib.import_module(f"{framework}.package_info")
    if "target" in facts:
        facts = {**facts, "target": facts["target"].format(framework)}
    work = _import(framework)
    save = work.save
    patch = replace(_patch(framework), **facts)
    status = patcher.apply(patch)
    assert (status.state, reason in status.reason) == (state, True), status
    assert work.save is save
    assert look(patch).state is state


def test_version_of_the_module_counts_before_that_of_a_distribution(
    framework: str, patcher: Patcher
) -> None:
    (Path(sys.path[0]) / framework / "__init__.py").write_text('__version__ = "3.0+abc"\n')
    importlib.invalidate_caches()
    _import(framework)
    assert patcher.apply(_patch(framework, versions=">=1")).state is State.APPLIED


def test_placeholder_of_the_same_name_does_not_decide(
    framework: str, patcher: Patcher, tmp_path: Path
) -> None:
    info = tmp_path / f"{framework}-0.0.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {framework}\nVersion: 0.0.0\n")
    (info / "RECORD").write_text(f"{info.name}/METADATA,,\n")
    assert patcher.apply(_patch(framework)).state is State.WAITING
    _import(framework)
    assert [status.state for status in patcher.statuses()] == [State.APPLIED]


def test_first_target_that_is_there_is_taken(framework: str, patcher: Patcher) -> None:
    work = _import(framework)
    notes: list[Any] = []
    patch = _patch(framework, "newer", otherwise=(f"{framework}.work:save",), after=_noted(notes))
    assert "save is observed" in patcher.apply(patch).reason
    work.save("a", "f")
    assert len(notes) == 1


def test_subclass_with_a_method_of_its_own_is_told(framework: str, patcher: Patcher) -> None:
    work = _import(framework)

    class Own(work.Base):  # type: ignore[misc, name-defined]  # made at run time
        def method(self, path: str) -> str:
            return path

    assert Own().method("x") == "x"
    status = patcher.apply(_method(framework, "Base.method", parameters=("self", "path")))
    assert "Own has its own and is not" in status.reason


def test_user_is_warned_once_when_nothing_will_be_seen(
    framework: str, patcher: Patcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    absent = _patch(framework, package="not_here", target="not_here.work:save")
    patcher.apply(absent)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]
    with Patcher() as another:
        for _ in range(3):
            another.apply(absent, asked=True)
    warnings = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert len(warnings) == 1
    assert "pip install it" in warnings[0]


def test_framework_that_is_absent_is_one_warning_whatever_came_before(
    patcher: Patcher, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    absent = [_patch("not_here", name) for name in ("save", "load")]
    for patch in absent:  # as ``track`` does: silent
        patcher.apply(patch)
    for patch in (*absent, *absent):
        patcher.apply(patch, asked=True)
    (said,) = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert (
        said == "nothing is recorded by not_here: absent, not_here is not installed; pip install it"
    )


def test_release_that_nobody_looked_at_is_one_warning_that_says_what_to_do(
    framework: str, patcher: Patcher, caplog: pytest.LogCaptureFixture
) -> None:
    _import(framework)
    vars(sys.modules[framework])["__version__"] = "1.2.0"
    for name in ("save", "caller", "gone"):
        patcher.apply(_patch(framework, name, versions=">=2"))
    patcher.apply(_patch(framework, "moved", target=f"{framework}.gone:save", versions=">=2"))
    (said,) = [each.message for each in caplog.records if each.levelno >= logging.WARNING]
    assert f"nothing is recorded by {framework}: unsupported" in said
    assert "Take a release that is known (>=2), or a newer nemotron-lineage" in said


def test_failure_after_an_import_does_not_break_the_import(
    framework: str, patcher: Patcher, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no good")

    monkeypatch.setattr(Patcher, "_put", broken)
    patcher.apply(_patch(framework))
    work = _import(framework)
    assert isinstance(work, ModuleType)
    assert work.save("a", "f") == "saved a"
    assert "no good" in caplog.text


def test_two_patchers_await_one_module(framework: str, patcher: Patcher) -> None:
    notes: list[Any] = []
    others: list[Any] = []
    patcher.apply(_patch(framework, name="one", target=f"{framework}.work:save",
                         after=_noted(notes)))  # fmt: skip
    with Patcher() as another:
        another.apply(_patch(framework, name="two", target=f"{framework}.work:save",
                             after=_noted(others)))  # fmt: skip
        _import(framework).save("a", "f")
    assert (len(notes), len(others)) == (1, 1)


def test_forked_child_can_patch_while_another_thread_held_the_lock(
    framework: str, patcher: Patcher
) -> None:
    import os

    _import(framework)
    lock = patcher._own_lock()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            held.set()
            done.wait(10)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(10)
    child = os.fork()
    if not child:
        ok = patcher.apply(_patch(framework)).state is State.APPLIED
        os._exit(0 if ok else 1)
    status = os.waitpid(child, 0)[1]
    done.set()
    thread.join()
    assert status == 0


def test_module_in_an_archive_is_patched(tmp_path: Path, patcher: Patcher) -> None:
    import zipfile

    name = "zipped_framework"
    with zipfile.ZipFile(tmp_path / "code.zip", "w") as archive:
        archive.writestr(f"{name}/__init__.py", "")
        archive.writestr(f"{name}/work.py", SOURCE)
        archive.writestr(f"{name}/other.py", "X = 1\n")
    sys.path.insert(0, str(tmp_path / "code.zip"))
    try:
        notes: list[Any] = []
        assert patcher.apply(_patch(name, after=_noted(notes))).state is State.WAITING
        work = importlib.import_module(f"{name}.work")
        assert importlib.import_module(f"{name}.other").X == 1
        work.save("a", "f")
        assert len(notes) == 1
    finally:
        sys.path.remove(str(tmp_path / "code.zip"))


def test_looking_imports_nothing(framework: str) -> None:
    status = look(_patch(framework))
    assert (status.state, framework in sys.modules) == (State.WAITING, False)
    assert "save is observed when" in status.reason
    assert look(_patch(framework, parameters=("nope",))).state is State.DRIFTED


def test_patching_costs_no_framework_and_starts_nothing() -> None:
    code = (
        "import sys, threading\n"
        "from nemotron.kit.patches.engine import Patcher\n"
        "print(threading.active_count(), 'torch' in sys.modules, 'wandb' in sys.modules)"
    )
    namespace = Path(__file__).parents[2] / "tools" / "ns"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(namespace)},
    )  # fmt: skip
    assert result.stdout.split() == ["1", "False", "False"]


def test_doctor_shows_every_patch_and_imports_no_framework(
    capsys: pytest.CaptureFixture[str],
) -> None:
    from nemotron.kit.patches import megatron_bridge, nemo_rl
    from nemotron.lineage.cli.main import main

    main(["doctor"])
    said = capsys.readouterr().out
    for patch in (*megatron_bridge.PATCHES, *nemo_rl.PATCHES):
        assert f"{patch.name}: absent" in said
        assert patch.why in said
        assert patch.upstream.startswith("https://github.com/")
        assert patch.remove_when
    assert "megatron" not in sys.modules


def test_doctor_reads_the_source_of_what_is_not_imported(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from nemotron.lineage.cli.main import main

    monkeypatch.syspath_prepend(str(Path(__file__).parent / "standin"))
    main(["doctor"])
    said = capsys.readouterr().out
    assert (
        "megatron-bridge-save: waiting, on_save_checkpoint_success is observed when "
        "megatron.bridge.training.utils.wandb_utils is imported" in said
    )
    assert "megatron" not in sys.modules
