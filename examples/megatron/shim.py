"""Lets Megatron-Bridge import and train on a machine without CUDA, for a tiny GPT.

Transformer Engine, Mamba and causal-conv1d are imported at module level and install nowhere
without CUDA; none of them runs in a model with local layer specs, so names that can be imported
are enough. ``torch.cuda`` is answered with the CPU. The order in ``install`` matters: whoever may
honestly find out that something is missing has to ask first.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import sys
import types
from importlib.machinery import ModuleSpec
from typing import Any

_ABSENT = (
    "transformer_engine", "mamba_ssm", "causal_conv1d",
    "megatron.core.inference.contexts.attention_context.triton",
)  # fmt: skip
_ASK_FIRST = (
    "megatron.core.extensions", "megatron.core.extensions.transformer_engine",
    "modelopt.torch.opt.plugins", "modelopt.torch.quantization", "modelopt.torch.distill",
    "modelopt.torch.distill.plugins.megatron",
)  # fmt: skip


class _Name(type):
    """A class that can be called, inherited from, used as a decorator and in ``X | None``."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Name(name, (), {})
        setattr(cls, name, made)
        return made

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return args[0] if len(args) == 1 and not kwargs and callable(args[0]) else cls

    def __or__(cls, _: Any) -> Any:
        return cls

    __ror__ = __or__


class _Names(types.ModuleType):
    """A module with every name."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = _Name(name, (), {})
        setattr(self, name, made)
        return made


class _Finder:
    """Answers imports of what is absent, and of all below."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        del path, target
        if any(name == each or name.startswith(f"{each}.") for each in _ABSENT):
            return ModuleSpec(name, self, is_package=True)  # type: ignore[arg-type]  # duck-typed
        return None

    def create_module(self, spec: ModuleSpec) -> types.ModuleType:
        return _Names(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        module.__path__ = []


def install() -> None:
    """Make Megatron-Bridge importable, and torch.cuda the CPU, for the rest of the process."""
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    import torch

    torch.set_num_threads(1)
    for name in _ASK_FIRST:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    sys.meta_path.insert(0, _Finder())  # type: ignore[arg-type]  # duck-typed
    _answer_with_the_cpu()


def relax() -> None:
    """Have Megatron-Bridge start without CUDA and build nothing; it is imported by this."""
    import functools

    import megatron.core.tensor_parallel.random as states
    from megatron.bridge.training import initialize, setup

    setup.initialize_megatron = functools.partial(
        initialize.initialize_megatron, allow_no_cuda=True
    )
    initialize.compile_helpers = lambda: None
    states.CudaRNGStatesTracker.fork = lambda *_, **__: contextlib.nullcontext()
    states.initialize_rng_tracker()


def _answer_with_the_cpu() -> None:
    import torch
    from torch.overrides import TorchFunctionMode

    cpu = torch.device("cpu")

    def is_cuda(device: Any) -> bool:
        return device is not None and (isinstance(device, int) or "cuda" in str(device))

    class OnTheCPU(TorchFunctionMode):
        """Sends whatever asks for a GPU to the CPU."""

        def __torch_function__(
            self, func: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            del types
            name = getattr(func, "__name__", "")
            if name in ("cuda", "pin_memory"):
                return args[0]
            kwargs = dict(kwargs or {})
            if is_cuda(kwargs.get("device")):
                kwargs["device"] = cpu
            if kwargs.get("pin_memory"):
                kwargs["pin_memory"] = False
            if name == "to":
                moved = (str, torch.device)
                args = tuple(cpu if isinstance(a, moved) and is_cuda(a) else a for a in args)
            return func(*args, **kwargs)

    class Idle:
        """A stream or event that nothing waits for."""

        def __init__(self, *_: Any, **__: Any) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return lambda *_, **__: None

        def __enter__(self) -> Any:
            return self

        def __exit__(self, *_: object) -> None: ...

    def nothing() -> Any:
        # a fresh one each: torch._dynamo refuses one function under two names
        return lambda *_, **__: None

    cuda: Any = torch.cuda
    for name in ("set_device", "synchronize", "empty_cache", "set_rng_state", "set_stream"):
        setattr(cuda, name, nothing())
    cuda.current_device = lambda: cpu
    cuda.get_rng_state = lambda *_, **__: torch.get_rng_state()
    cuda.Stream = cuda.Event = Idle
    cuda.current_stream = lambda *_, **__: Idle()
    cuda.default_stream = lambda *_, **__: Idle()
    cuda.stream = lambda *_, **__: contextlib.nullcontext()
    cuda.nvtx.range_push, cuda.nvtx.range_pop = nothing(), nothing()
    torch.nn.Module.cuda = lambda self, *_, **__: self
    OnTheCPU().__enter__()
    # the process that writes in the background computes a rank modulo the number of devices
    if multiprocessing.current_process().name != "MainProcess":
        cuda.device_count = lambda: 1
