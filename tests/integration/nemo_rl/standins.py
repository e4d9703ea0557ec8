"""Stand-ins for NeMo-RL's CheckpointManager, one a generation, for where its source is not given.

They rename, swap and prune real folders; only weights are missing. ``test_nemo_rl.py`` compares
their methods with the real class whenever that is there.
"""

from __future__ import annotations

import json
import re
import shutil
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml


class _Folders:
    """What both generations do alike."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.checkpoint_dir = Path(config["checkpoint_dir"])
        self.metric_name = config["metric_name"]
        self.higher_is_better = config["higher_is_better"]
        self.keep_top_k = config["keep_top_k"]

    def init_tmp_checkpoint(
        self, step: int, training_info: Mapping[str, Any], run_config: Any = None
    ) -> Path:
        folder = self.checkpoint_dir / f"tmp_step_{step}"
        folder.mkdir(parents=True)
        (folder / "training_info.json").write_text(json.dumps(training_info))
        if run_config is not None:
            (folder / "config.yaml").write_text(yaml.safe_dump(run_config))
        return folder.absolute()

    def load_training_info(self, checkpoint_path: Any = None) -> dict[str, Any] | None:
        if checkpoint_path is None:
            return None
        found: dict[str, Any] = json.loads(
            (Path(checkpoint_path) / "training_info.json").read_text()
        )
        return found

    def _give_it_its_name(self, checkpoint_path: Path) -> None:
        step = checkpoint_path.name.split("_")[2]
        final = checkpoint_path.parent / f"step_{step}"
        aside = checkpoint_path.parent / f"old_step_{step}"
        if final.exists():
            final.rename(aside)
        checkpoint_path.rename(final)
        if aside.exists():
            shutil.rmtree(aside)

    def _history(self) -> list[tuple[int, Path, dict[str, Any]]]:
        return [
            (
                int(path.name.split("_")[1]),
                path,
                json.loads((path / "training_info.json").read_text()),
            )
            for path in self.checkpoint_dir.iterdir()
            if re.fullmatch(r"step_\d+", path.name)
        ]

    def _ranked(
        self, history: list[tuple[int, Path, dict[str, Any]]]
    ) -> list[tuple[int, Path, dict[str, Any]]]:
        if self.metric_name is None:
            return sorted(history, key=lambda each: -each[0])
        sign, worst = (1, -1e9) if self.higher_is_better else (-1, 1e9)
        return sorted(
            history, key=lambda each: (-sign * each[2].get(self.metric_name, worst), -each[0])
        )


class Released(_Folders):
    """Up to 0.7.0: one thread; the end of a checkpoint prunes."""

    def finalize_checkpoint(self, checkpoint_path: Any) -> None:
        self._give_it_its_name(Path(checkpoint_path))
        self.remove_old_checkpoints()

    def remove_old_checkpoints(self, exclude_latest: bool = True) -> None:  # noqa: FBT001, FBT002
        history = self._history()
        if self.keep_top_k is None:
            return
        kept = {step for step, _, _ in self._ranked(history)[: self.keep_top_k]}
        if exclude_latest:
            kept.add(max(step for step, _, _ in history))
        for step, path, _ in history:
            if step not in kept:
                shutil.rmtree(path)


class Main(_Folders):
    """After 718ee57fc: a thread gives the name, another one prunes."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        self.save_period = config["save_period"]
        self.ft_keep_latest_k = config.get("ft_keep_latest_k")
        self._finalize_thread: threading.Thread | None = None
        self._finalize_error: Exception | None = None
        self._delete_executor = ThreadPoolExecutor(max_workers=1)

    def _rename_checkpoint(self, checkpoint_path: Any) -> None:
        self._give_it_its_name(Path(checkpoint_path))

    def finalize_checkpoint(self, checkpoint_path: Any) -> None:
        self._rename_checkpoint(checkpoint_path)
        self.remove_old_checkpoints()

    def begin_finalization(
        self, checkpoint_path: Any, wait_fn: Callable[[], None] | None = None
    ) -> None:
        self.finalize_pending()

        def finalize() -> None:
            try:
                if wait_fn is not None:
                    wait_fn()
                self._rename_checkpoint(checkpoint_path)
                self._delete_executor.submit(self.remove_old_checkpoints)
            except Exception as error:  # noqa: BLE001 - as the real one does
                self._finalize_error = error

        self._finalize_thread = threading.Thread(target=finalize, daemon=True)
        self._finalize_thread.start()

    def finalize_pending(self) -> None:
        if self._finalize_thread is not None:
            self._finalize_thread.join()
            self._finalize_thread = None
        if self._finalize_error is not None:
            error, self._finalize_error = self._finalize_error, None
            raise RuntimeError("Background checkpoint finalization failed") from error

    def shutdown(self) -> None:
        self.finalize_pending()
        self._delete_executor.shutdown(wait=True)
        self._delete_executor = ThreadPoolExecutor(max_workers=1)

    def remove_old_checkpoints(self, exclude_latest: bool = True) -> None:  # noqa: FBT001, FBT002
        history = self._history()
        if not history or (self.keep_top_k is None and self.ft_keep_latest_k is None):
            return
        kept = {max(step for step, _, _ in history)} if exclude_latest else set()
        periodic = self._ranked([each for each in history if each[0] % self.save_period == 0])
        kept |= {step for step, _, _ in periodic[: self.keep_top_k]}
        if self.ft_keep_latest_k is not None:
            kept |= set(sorted(step for step, _, _ in history)[-self.ft_keep_latest_k :])
        for step, path, _ in history:
            if step not in kept:
                shutil.rmtree(path)
