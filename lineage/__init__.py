"""Knows where every model came from: artifacts, versions and lineage, kept in a journal.

    import nemotron.lineage as lineage

    with lineage.open() as store, store.run("sft", job_type="training") as run:
        data = run.use("art://sft-tokens:latest", role="data")
        run.publish("sft-model", path="out", type="model", metadata={"loss": 2.31})

Names are loaded when they are first used: importing this package costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, without its import
    from .claims import claim_name as claim_name
    from .cli.commands import Check as Check
    from .cli.commands import Command as Command
    from .cli.commands import Commands as Commands
    from .digests import Digest as Digest
    from .digests import digest as digest
    from .digests import fingerprint as fingerprint
    from .errors import ArtifactGone as ArtifactGone
    from .errors import ArtifactNotFoundError as ArtifactNotFoundError
    from .errors import ArtifactVersionNotFoundError as ArtifactVersionNotFoundError
    from .errors import Conflict as Conflict
    from .errors import ContentChanged as ContentChanged
    from .errors import LineageError as LineageError
    from .errors import MetadataError as MetadataError
    from .errors import MirrorUnready as MirrorUnready
    from .errors import PathNotFoundError as PathNotFoundError
    from .errors import PayloadRedacted as PayloadRedacted
    from .errors import PinsFailed as PinsFailed
    from .errors import PublishRefused as PublishRefused
    from .errors import StoreBusy as StoreBusy
    from .errors import StoreClosed as StoreClosed
    from .errors import StoreDamaged as StoreDamaged
    from .errors import StoreError as StoreError
    from .errors import StoreFull as StoreFull
    from .errors import StoreNotFoundError as StoreNotFoundError
    from .errors import StoreReadOnly as StoreReadOnly
    from .errors import StoreTooNew as StoreTooNew
    from .errors import StoreUnreachable as StoreUnreachable
    from .errors import StoreUnsuitable as StoreUnsuitable
    from .errors import URIError as URIError
    from .filesystems import filesystem_kind as filesystem_kind
    from .foreign.manifest import write_manifests as write_manifests
    from .graph import Diff as Diff
    from .graph import Edge as Edge
    from .graph import LineageGraph as LineageGraph
    from .graph import Node as Node
    from .journal.kinds import absolute_address as absolute_address
    from .launch import Launch as Launch
    from .mirror.addresses import address_fault as address_fault
    from .mirror.chosen import chosen_mirrors as chosen_mirrors
    from .mirror.elsewhere import look_in_wandb as look_in_wandb
    from .mirror.live import LiveMirror as LiveMirror
    from .model import AliasMove as AliasMove
    from .model import Artifact as Artifact
    from .model import Fact as Fact
    from .model import Input as Input
    from .model import Location as Location
    from .model import Receipt as Receipt
    from .model import Role as Role
    from .model import RunInfo as RunInfo
    from .model import RunStatus as RunStatus
    from .model import Source as Source
    from .model import State as State
    from .model import Version as Version
    from .model import VersionId as VersionId
    from .pins import Pinned as Pinned
    from .pins import pin_job as pin_job
    from .recorder import Recorder as Recorder
    from .recording import Recording as Recording
    from .redact import Redactor as Redactor
    from .registry import ANY as ANY
    from .registry import Lineage as Lineage
    from .registry import open_store

    open = open_store  # noqa: A001 - the name of the API
    from .run import Run as Run
    from .sealing import start_sealing as start_sealing
    from .seals import Verdict as Verdict
    from .seals import Verification as Verification
    from .settings import choose_store as choose_store
    from .settings import find_settings as find_settings
    from .settings import read_settings as read_settings
    from .settings import settings_folders as settings_folders
    from .source import SourceURI as SourceURI
    from .uri import ArtifactURI as ArtifactURI

_HOMES = {
    "claims": "claim_name",
    "cli.commands": "Check Command Commands",
    "digests": "Digest digest fingerprint",
    "errors": (
        "ArtifactGone ArtifactNotFoundError ArtifactVersionNotFoundError Conflict ContentChanged "
        "LineageError MetadataError MirrorUnready PathNotFoundError PayloadRedacted PinsFailed "
        "PublishRefused StoreBusy StoreClosed StoreDamaged StoreError StoreFull "
        "StoreNotFoundError StoreReadOnly StoreTooNew StoreUnreachable StoreUnsuitable URIError"
    ),
    "filesystems": "filesystem_kind",
    "foreign.manifest": "write_manifests",
    "graph": "Diff Edge LineageGraph Node",
    "journal.kinds": "absolute_address",
    "launch": "Launch",
    "mirror.addresses": "address_fault",
    "mirror.chosen": "chosen_mirrors",
    "mirror.elsewhere": "look_in_wandb",
    "mirror.live": "LiveMirror",
    "model": (
        "AliasMove Artifact Fact Input Location Receipt Role RunInfo RunStatus Source State "
        "Version VersionId"
    ),
    "pins": "Pinned pin_job",
    "recorder": "Recorder",
    "recording": "Recording",
    "redact": "Redactor",
    "registry": "ANY Lineage open",
    "run": "Run",
    "sealing": "start_sealing",
    "seals": "Verdict Verification",
    "settings": "choose_store find_settings read_settings settings_folders",
    "source": "SourceURI",
    "uri": "ArtifactURI",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}
_RENAMED = {"open": "open_store"}

__version__ = "0.1.0"
__all__ = ["__version__", *sorted(_HOME)]  # noqa: PLE0604 - all of them are names


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # importing it costs more than we do

    value = getattr(import_module(f".{home}", __name__), _RENAMED.get(name, name))
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
