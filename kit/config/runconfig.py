"""What may stand in a profile: one field a key, with its type, its executors and its meaning.

The annotation of a field is the type that the reader checks, and the reference page is made from
all of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from .masking import shown
from .schema import (
    DGXCLOUD,
    DOCKER,
    EXECUTORS,
    KUBEFLOW,
    KUBERAY,
    LEPTON,
    LOCAL,
    SKYPILOT,
    SLURM,
    Key,
    Table,
)
from .variables import as_table

__all__ = ["KEYS", "RunConfig"]


def _key(help: str, *executors: str, default: Any = None, **facts: Any) -> Any:
    return field(default=default, metadata={"key": Key(help, executors, default=default, **facts)})


@dataclass(frozen=True, repr=False)
class RunConfig:
    """Where a run takes place: an effective profile of env.toml, or one made in code.

    A key that is not set is None. ``env_vars`` may be given as a table or as a list of
    ``KEY=value``; it is kept as a table. It prints without its secrets.

    >>> RunConfig(executor="slurm", account="team", env_vars=["HF_TOKEN=not to be seen"])
    RunConfig(executor='slurm', env_vars={'HF_TOKEN': '[redacted]'}, account='team')
    """

    executor: str = _key("where it runs", default=LOCAL, choices=EXECUTORS)
    nodes: int | None = _key("number of nodes")
    nproc_per_node: int | None = _key(
        "processes on each node", other_names=("ntasks_per_node", "nprocs_per_node")
    )
    gpus_per_node: int | None = _key("GPUs on each node")
    container_image: str | None = _key(
        "image to run in", needs=(DOCKER, DGXCLOUD, LEPTON), other_names=("container",)
    )
    mounts: list[str] | list[Table] | None = _key(
        "what is mounted: `/host:/container`; on lepton tables",
        kinds=(("", "list[str]"), (LEPTON, "list[Table]")),
    )
    launcher: str | None = _key("what starts the processes, e.g. torchrun")
    packager: str | None = _key(
        "how the code gets there", choices=("git", "pattern", "hybrid", "none")
    )
    packager_include_pattern: str | list[str] | None = _key(
        "files that the packager `pattern` takes"
    )
    startup_commands: list[str] | None = _key("shell commands before the run")
    job_name: str = _key("name of the job", default="nemo-run")
    time: str = _key("time limit, `HH:MM:SS`", default="04:00:00")
    detach: bool = _key("submit and return", default=False)
    dry_run: bool = _key("show what would be done", default=False)
    env_vars: dict[str, str] = field(
        default_factory=dict,
        metadata={"key": Key("variables of the job: a table, or a list of `KEY=value`")},
    )
    secrets: str | dict[str, str] | None = _key("how secrets reach the job, see below")
    ray_mode: str = _key(
        "a Ray cluster for one job, or one that stays", SLURM, KUBERAY, default="job",
        choices=("job", "cluster"),
    )  # fmt: skip
    ray_working_dir: str | None = _key("working folder of Ray jobs", LOCAL, SLURM, KUBERAY)
    # docker
    runtime: str | None = _key("runtime of the container, e.g. nvidia", DOCKER)
    num_gpus: int | None = _key("GPUs of the container", DOCKER)
    shm_size: str | None = _key("shared memory, e.g. `8g`", DOCKER)
    ulimits: list[str] | None = _key("`NAME:SOFT:HARD`", DOCKER)
    ipc_mode: str | None = _key("IPC namespace", DOCKER)
    privileged: bool | None = _key("run with all privileges", DOCKER)
    healthcheck: Table | None = _key("health check of the container", DOCKER)
    additional_kwargs: Table | None = _key("more arguments of the Docker SDK", DOCKER)
    network: str | None = _key("network", DOCKER, SLURM)
    volumes: list[str] | list[Table] | None = _key(
        "volumes: `/host:/container`; on Kubernetes tables", DOCKER, KUBEFLOW, KUBERAY,
        kinds=((DOCKER, "list[str]"), ("", "list[Table]")),
    )  # fmt: skip
    # slurm
    account: str | None = _key("account that pays", SLURM, needs=(SLURM,))
    partition: str | None = _key("partition", SLURM, needs=(SLURM,))
    run_partition: str | None = _key("partition of attached runs", SLURM)
    batch_partition: str | None = _key("partition of detached runs", SLURM)
    qos: str | None = _key("quality of service", SLURM)
    mem: str | None = _key("memory of a node, `0` for all", SLURM)
    mem_per_gpu: str | None = _key("memory for each GPU", SLURM)
    mem_per_cpu: str | None = _key("memory for each CPU", SLURM)
    constraint: str | None = _key("features of the nodes", SLURM)
    exclude: str | None = _key("nodes to leave out", SLURM)
    gres: str | None = _key("generic resources", SLURM)
    exclusive: bool | str | None = _key("whole nodes", SLURM)
    array: str | None = _key("job array", SLURM)
    cpus_per_task: int | None = _key("CPUs for each task", SLURM)
    cpus_per_gpu: int | None = _key("CPUs for each GPU", SLURM)
    gpus_per_task: int | None = _key("GPUs for each task", SLURM)
    comment: str | None = _key("comment on the job", SLURM)
    signal: str | None = _key("signal before the time limit", SLURM)
    open_mode: str | None = _key("how log files are opened", SLURM)
    segment: int | None = _key("size of a segment of nodes", SLURM)
    heterogeneous: bool | None = _key("a heterogeneous job", SLURM)
    tunnel: str = _key(
        "how Slurm is reached; ssh needs `host`, `user`, `remote_job_dir`",
        SLURM,
        default="local",
        choices=("local", "ssh"),
    )
    host: str | None = _key("login node, for ssh", SLURM)
    user: str | None = _key("user there", SLURM)
    identity: str | None = _key("path of the private key", SLURM)
    port: int | None = _key("port of ssh", SLURM)
    remote_job_dir: str | None = _key("folder of the jobs there", SLURM)
    container_mounts: list[str] | None = _key("mounts, after `mounts`", SLURM)
    container_env: list[str] | None = _key("variables that win over the image's", SLURM)
    setup_lines: str | None = _key("shell lines before srun", SLURM)
    srun_args: list[str] | None = _key("more arguments of srun", SLURM)
    additional_parameters: Table | None = _key("more `#SBATCH` parameters", SLURM)
    dependencies: list[str] | None = _key("jobs to wait for", SLURM)
    build_partition: str | None = _key("partition of container builds", SLURM)
    build_time: str | None = _key("time limit of container builds", SLURM)
    build_cache_dir: str | None = _key("cache folder of container builds", SLURM)
    # skypilot
    cloud: str | list[str] | None = _key("cloud", SKYPILOT)
    region: str | list[str] | None = _key("region", SKYPILOT)
    zone: str | list[str] | None = _key("zone", SKYPILOT)
    infra: str | None = _key("cloud, region and zone in one", SKYPILOT)
    instance_type: str | list[str] | None = _key("type of the machines", SKYPILOT)
    gpus: str | list[str] | None = _key("kind and number of GPUs, e.g. `A100:8`", SKYPILOT)
    cpus: float | None = _key("CPUs of a machine", SKYPILOT)
    memory: float | None = _key("memory of a machine, in GiB", SKYPILOT)
    use_spot: bool | None = _key("spot machines", SKYPILOT)
    disk_size: int | None = _key("disk, in GiB", SKYPILOT)
    disk_tier: str | None = _key("speed of the disk", SKYPILOT)
    network_tier: str | None = _key("speed of the network", SKYPILOT)
    file_mounts: dict[str, str] | None = _key("local and bucket paths by path there", SKYPILOT)
    storage_mounts: Table | None = _key("buckets by path there", SKYPILOT)
    cluster_name: str | None = _key("name of the cluster", SKYPILOT)
    setup: str | None = _key("shell lines when the cluster is made", SKYPILOT)
    autodown: bool | None = _key("remove the cluster when it idles", SKYPILOT)
    idle_minutes_to_autostop: int | None = _key("when an idle cluster stops", SKYPILOT)
    retry_until_up: bool | None = _key("try until there is capacity", SKYPILOT)
    # several
    num_nodes: int | None = _key("number of nodes", SKYPILOT, KUBEFLOW)
    namespace: str | None = _key("namespace", KUBEFLOW, KUBERAY)
    image: str | None = _key("image to run in", KUBEFLOW, KUBERAY)
    labels: Table | None = _key("labels", KUBEFLOW, KUBERAY)
    volume_mounts: list[Table] | None = _key("where volumes are mounted", KUBEFLOW, KUBERAY)
    spec_kwargs: Table | None = _key("more of the pod's specification", KUBEFLOW, KUBERAY)
    container_kwargs: Table | None = _key("more of the container's", KUBEFLOW, KUBERAY)
    image_pull_secrets: list[str] | None = _key(
        "names of the secrets of registries", LEPTON, KUBEFLOW
    )
    custom_spec: Table | None = _key("more of the job's specification", DGXCLOUD, LEPTON)
    launched_from_cluster: bool | None = _key("submitted from inside", DGXCLOUD, LEPTON)
    ray_version: str | None = _key("version of Ray", LEPTON, KUBERAY)
    # dgxcloud
    base_url: str | None = _key("address of the API", DGXCLOUD, needs=(DGXCLOUD,))
    kube_apiserver_url: str | None = _key(
        "address of the Kubernetes API", DGXCLOUD, needs=(DGXCLOUD,)
    )
    client_id: str | None = _key(
        "id for the API", DGXCLOUD, needs=(DGXCLOUD,), other_names=("app_id",)
    )
    client_secret: str | None = _key(
        "secret for the API: `env:NAME` or `file:/path`", DGXCLOUD, needs=(DGXCLOUD,),
        other_names=("app_secret",),
    )  # fmt: skip
    project_name: str | None = _key("project", DGXCLOUD, needs=(DGXCLOUD,))
    pvc_nemo_run_dir: str | None = _key(
        "folder of the jobs on the volume", DGXCLOUD, needs=(DGXCLOUD,)
    )
    pvcs: list[Table] | None = _key("volumes: `claimName`, `path`, `readOnly`", DGXCLOUD)
    distributed_framework: str | None = _key("framework, e.g. PyTorch", DGXCLOUD)
    # lepton
    nemo_run_dir: str | None = _key("folder of the jobs there", LEPTON, needs=(LEPTON,))
    resource_shape: str | None = _key("kind of the machines, e.g. `gpu.8xh100`", LEPTON)
    head_resource_shape: str | None = _key("kind of the machine of Ray's head", LEPTON)
    node_group: str | None = _key("node group", LEPTON)
    node_reservation: str | None = _key("node reservation", LEPTON)
    shared_memory_size: int | None = _key("shared memory, in MiB", LEPTON)
    secret_vars: dict[str, str] | None = _key("variables from secrets of Lepton", LEPTON)
    pre_launch_commands: list[str] | None = _key("shell commands before the run", LEPTON)
    queue_priority: str | None = _key("priority in the queue", LEPTON)
    can_preempt: bool | None = _key("whether it may push others aside", LEPTON)
    can_be_preempted: bool | None = _key("whether others may push it aside", LEPTON)
    # kubeflow
    runtime_ref: str | None = _key("training runtime", KUBEFLOW)
    env_list: list[Table] | None = _key("variables as Kubernetes has them", KUBEFLOW)
    cpu_requests: str | None = _key("CPUs asked for", KUBEFLOW)
    cpu_limits: str | None = _key("CPUs at most", KUBEFLOW)
    memory_requests: str | None = _key("memory asked for", KUBEFLOW)
    memory_limits: str | None = _key("memory at most", KUBEFLOW)
    extra_resource_requests: dict[str, str] | None = _key("other resources asked for", KUBEFLOW)
    extra_resource_limits: dict[str, str] | None = _key("other resources at most", KUBEFLOW)
    annotations: Table | None = _key("annotations of the job", KUBEFLOW)
    pod_annotations: Table | None = _key("annotations of the pods", KUBEFLOW)
    pod_labels: Table | None = _key("labels of the pods", KUBEFLOW)
    tolerations: list[Table] | None = _key("tolerations", KUBEFLOW)
    affinity: Table | None = _key("affinity", KUBEFLOW)
    pod_spec_overrides: Table | None = _key("what replaces parts of the pod", KUBEFLOW)
    restart_policy: str | None = _key("when a pod is started again", KUBEFLOW)
    workdir_pvc: str | None = _key("volume of the code", KUBEFLOW)
    workdir_pvc_path: str | None = _key("where that volume is mounted", KUBEFLOW)
    # kuberay
    head_cpu: str | None = _key("CPUs of the head", KUBERAY)
    head_memory: str | None = _key("memory of the head", KUBERAY)
    head_ports: list[Table] | None = _key("ports of the head", KUBERAY)
    worker_groups: list[Table] | None = _key("groups of workers", KUBERAY)
    service_type: str | None = _key("kind of the service", KUBERAY)
    ray_head_start_params: Table | None = _key("arguments of the head's `ray start`", KUBERAY)
    ray_worker_start_params: Table | None = _key("arguments of the workers'", KUBERAY)
    reuse_volumes_in_worker_groups: bool | None = _key("workers get the volumes too", KUBERAY)
    lifecycle_kwargs: Table | None = _key("hooks of the containers", KUBERAY)
    options: Table = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "env_vars", as_table(self.env_vars))

    def __repr__(self) -> str:
        told = {
            spec.name: shown(getattr(self, spec.name), spec.name)
            for spec in fields(self)
            if getattr(self, spec.name) not in (None, {}, spec.default)
        }
        return f"RunConfig({', '.join(f'{name}={value!r}' for name, value in told.items())})"


def _keys() -> dict[str, Key]:
    """Return the keys of a profile: the fields above, with the types that they are annotated by."""
    return {
        spec.name: replace(spec.metadata["key"], kind=str(spec.type).removesuffix(" | None"))
        for spec in fields(RunConfig)
        if spec.metadata
    }


KEYS = _keys()
