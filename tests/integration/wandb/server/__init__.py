"""A W&B server on this machine: keeps state, answers the real SDK, fails when it is told to.

::

    with serving() as server:
        ...                                   # WANDB_BASE_URL=server.url
        server.world.versions("e/p/model")    # what it holds
        server.faults.status("CommitArtifact", 500)

It speaks the operations that wandb 0.26 to 0.31 sends for runs and artifacts. What the real
backend does where nobody has looked is a choice here; ``World`` names each.
"""

from .faults import Faults
from .http import Server, serving
from .world import Artifact, Run, World

__all__ = ["Artifact", "Faults", "Run", "Server", "World", "serving"]
