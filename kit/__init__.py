"""The part of nemotron-lineage that training code touches: artifacts, ``${art:...}``, frameworks.

    import nemotron.kit as kit
    from nemotron.kit import ModelArtifact

    kit.init(root="/shared/lineage")
    ModelArtifact(path="out/iter_100", step=100, loss=2.31).save(name="sft-model")

Names are loaded when they are first used: importing this package costs next to nothing.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:  # as typing's, without its import
    from nemotron.lineage import ArtifactNotFoundError as ArtifactNotFoundError
    from nemotron.lineage import ArtifactVersionNotFoundError as ArtifactVersionNotFoundError

    from .artifacts.base import Artifact as Artifact
    from .artifacts.base import TrackingInfo as TrackingInfo
    from .artifacts.data import DataBlendsArtifact as DataBlendsArtifact
    from .artifacts.data import InputDatasetInfo as InputDatasetInfo
    from .artifacts.data import PretrainBlendsArtifact as PretrainBlendsArtifact
    from .artifacts.data import PretrainDataArtifact as PretrainDataArtifact
    from .artifacts.data import SFTDataArtifact as SFTDataArtifact
    from .artifacts.data import SplitJsonlDataArtifact as SplitJsonlDataArtifact
    from .artifacts.model import ModelArtifact as ModelArtifact
    from .config import RunConfig as RunConfig
    from .config import Settings as Settings
    from .config import SettingsError as SettingsError
    from .config import list_run_profiles as list_run_profiles
    from .config import load_run_profile as load_run_profile
    from .config import load_settings as load_settings
    from .config import wandb_state as wandb_state
    from .credentials import Credential as Credential
    from .credentials import explain_hf as explain_hf
    from .credentials import explain_wandb as explain_wandb
    from .credentials import find_hf_token as find_hf_token
    from .credentials import find_wandb_key as find_wandb_key
    from .credentials import missing_wandb_login as missing_wandb_login
    from .credentials import wandb_base_url as wandb_base_url
    from .launching import LaunchError as LaunchError
    from .paths import HostPath as HostPath
    from .paths import host_path as host_path
    from .resolvers import clear_artifact_cache as clear_artifact_cache
    from .resolvers import register_resolvers as register_resolvers
    from .resolvers import register_resolvers_from_config as register_resolvers_from_config
    from .run import build_executor as build_executor
    from .run import load_wandb_config as load_wandb_config
    from .run import run_with_nemo_run as run_with_nemo_run
    from .session import KitConfig as KitConfig
    from .session import current_run as current_run
    from .session import end_run as end_run
    from .session import get_config as get_config
    from .session import init as init
    from .session import is_initialized as is_initialized
    from .session import start_run as start_run
    from .session import store as store
    from .trackers import LineageTracker as LineageTracker
    from .trackers import get_lineage_tracker as get_lineage_tracker
    from .trackers import set_lineage_tracker as set_lineage_tracker
    from .trackers import to_wandb_uri as to_wandb_uri
    from .trackers import tokenizer_to_uri as tokenizer_to_uri
    from .tracking import ArtifactTrackingResult as ArtifactTrackingResult
    from .tracking import log_artifact as log_artifact
    from .tracking import setup_artifact_tracking as setup_artifact_tracking
    from .train_script import init_wandb_from_env as init_wandb_from_env
    from .training import Tracking as Tracking
    from .training import track as track
    from .wandb import WandbConfig as WandbConfig
    from .wandb import add_run_tags as add_run_tags
    from .wandb import add_wandb_tags as add_wandb_tags
    from .wandb import finish_run as finish_run
    from .wandb import finish_wandb as finish_wandb
    from .wandb import init_wandb_if_configured as init_wandb_if_configured
    from .wandb import log_wandb_config as log_wandb_config
    from .wandb import patch_nemo_rl_checkpoint_logging as patch_nemo_rl_checkpoint_logging
    from .wandb import patch_wandb_checkpoint_logging as patch_wandb_checkpoint_logging
    from .wandb import patch_wandb_init_for_lineage as patch_wandb_init_for_lineage
    from .wandb import patch_wandb_runid_for_seeded_random as patch_wandb_runid_for_seeded_random

_HOMES = {
    "nemotron.lineage": "ArtifactNotFoundError ArtifactVersionNotFoundError",
    "nemotron.kit.artifacts.base": "Artifact TrackingInfo",
    "nemotron.kit.artifacts.data": (
        "DataBlendsArtifact InputDatasetInfo PretrainBlendsArtifact PretrainDataArtifact "
        "SFTDataArtifact SplitJsonlDataArtifact"
    ),
    "nemotron.kit.artifacts.model": "ModelArtifact",
    "nemotron.kit.config": (
        "RunConfig Settings SettingsError list_run_profiles load_run_profile load_settings "
        "wandb_state"
    ),
    "nemotron.kit.credentials": (
        "Credential explain_hf explain_wandb find_hf_token find_wandb_key missing_wandb_login "
        "wandb_base_url"
    ),
    "nemotron.kit.launching": "LaunchError",
    "nemotron.kit.paths": "HostPath host_path",
    "nemotron.kit.resolvers": (
        "clear_artifact_cache register_resolvers register_resolvers_from_config"
    ),
    "nemotron.kit.run": "build_executor load_wandb_config run_with_nemo_run",
    "nemotron.kit.session": (
        "KitConfig current_run end_run get_config init is_initialized start_run store"
    ),
    "nemotron.kit.trackers": (
        "LineageTracker get_lineage_tracker set_lineage_tracker to_wandb_uri tokenizer_to_uri"
    ),
    "nemotron.kit.tracking": "ArtifactTrackingResult log_artifact setup_artifact_tracking",
    "nemotron.kit.train_script": "init_wandb_from_env",
    "nemotron.kit.training": "Tracking track",
    "nemotron.kit.wandb": (
        "WandbConfig add_run_tags add_wandb_tags finish_run finish_wandb "
        "init_wandb_if_configured log_wandb_config "
        "patch_nemo_rl_checkpoint_logging patch_wandb_checkpoint_logging "
        "patch_wandb_init_for_lineage patch_wandb_runid_for_seeded_random"
    ),
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = sorted(_HOME)  # noqa: PLE0605 - all of them are names


def __getattr__(name: str) -> object:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # importing it costs more than we do

    value = getattr(import_module(home), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
