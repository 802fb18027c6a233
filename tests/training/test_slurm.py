"""Train as a job of SLURM: of a real one where there is one, a controller and a node that the tests start."""

import os
import shutil
import socket
import subprocess
import sys
import time

import pytest

from dld.errors import DldError, UsageError
from dld.files import read_json
from dld.training import slurm
from dld.training.slurm import Request, Training

DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """\
ClusterName=dld
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SlurmctldParameters=enable_configless
KillWait=5
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=short Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A SLURM of one node, this machine: the environment in which its commands find it."""
    if os.geteuid() != 0 or not all(map(shutil.which, (*DAEMONS, "sbatch"))):
        pytest.skip("a SLURM of its own needs root, and Debian's packages slurmctld, slurmd, slurm-client and munge")
    pytest.importorskip("submitit")
    folder = tmp_path_factory.mktemp("slurm")
    for name in ("state", "spool"):
        (folder / name).mkdir()
    host = socket.gethostname().partition(".")[0]
    config, key = folder / "slurm.conf", folder / "munge.key"
    config.write_text(CONFIG.format(folder=folder, host=host, ports=(free_port(), free_port())))
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    own = {f"{name}-file": folder / f"munge.{name}" for name in ("key", "pid", "log", "seed")}
    munged = ["munged", "--foreground", "--force", f"--socket={folder}/munge.sock"]
    commands = [[*munged, *(f"--{name}={path}" for name, path in own.items())]]
    commands += [[name, "-D", "-f", str(config)] for name in DAEMONS[1:]]
    environment = {**os.environ, "SLURM_CONF": str(config), "OMP_NUM_THREADS": "1"}
    running = []
    try:
        for command in commands:
            with open(folder / f"{command[0]}.out", "w") as out:
                running.append(subprocess.Popen(command, env=environment, stdout=out, stderr=out))
            time.sleep(1)
        wait_until(lambda: "idle" in asked(environment, "sinfo", "-h", "-o", "%t"), 30, "no node is idle")
        yield environment
        asked(environment, "scancel", "--full", "--state=RUNNING")
    finally:
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def asked(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout


def wait_until(condition, seconds, what):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"{what} after {seconds} s")
        time.sleep(0.2)


@pytest.fixture
def driver(root, files, tiny_corpus, tmp_path):
    """Starts `dld train` on a tiny network: `driver(exp, *options, environment=None, **settings) -> Popen`."""
    started = []

    def start(exp, *options, environment=None, **settings):
        tiny = {"num_blocks": 3, "d_model": 16, "num_epochs": 2, "valid_depths": "[1,3]", "decode_depths": "[1,3]"}
        tiny |= {"max_batch_seconds": 10, "data": tiny_corpus, "exp": tmp_path / exp, **settings}
        words = [*files("mini/ld"), *options, *(f"--{key}={value}" for key, value in tiny.items())]
        environment = {**(environment or os.environ), "PYTHONPATH": str(root)}
        command = [sys.executable, "-m", "dld.bin.train", *words, "--device", "cpu"]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True, cwd=tmp_path))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def finished(process, seconds=300):
    """Wait for a driver; its exit status and what it printed."""
    errors = process.communicate(timeout=seconds)[1]
    return process.returncode, errors


def job_of(folder):
    path = folder / "slurm/job.json"
    wait_until(path.exists, 60, "no job is submitted")
    return read_json(path)["job"]


@pytest.mark.slow
@pytest.mark.parametrize("tasks", [1, 2])
def test_a_job_that_is_told_to_end_is_queued_again_and_ends_as_one_that_was_not(driver, cluster, tmp_path, tasks):
    options = ("--launcher", "slurm", "--slurm", f"partition=short time=10 ntasks-per-node={tasks}")
    options += ("--restart", "true", "--distributed-backend", "gloo")
    settings = {"environment": cluster, "ckpt_interval_minutes": 0.001}
    run = driver("exp", *options, **settings)
    folder = tmp_path / "exp/ld"
    job = job_of(folder)
    wait_until(lambda: list((folder / "save").glob("CKPT*")), 120, "no checkpoint")
    asked(cluster, "scancel", "--signal=USR2", job)
    status, errors = finished(run)
    assert status == 0, errors
    assert "stopped by SIGUSR2" in errors
    assert "Requeued job" in errors
    assert f"job {job}: PENDING" in errors
    # Submitted once, started twice; --restart counted for the first start alone.
    assert len(read_json(folder / "run.json")["starts"]) == 2
    status, errors = finished(driver("whole", *options, **settings))
    assert status == 0, errors
    hashes = [read_json(path / "model.json")["state_sha256"] for path in (folder, tmp_path / "whole/ld")]
    assert hashes[0] == hashes[1]


@pytest.mark.slow
def test_two_tasks_of_a_job_train_one_model_and_a_driver_that_ends_leaves_it_running(driver, cluster, tmp_path):
    options = ("--launcher", "slurm", "--slurm", "time=10 ntasks-per-node=2", "--distributed-backend", "gloo")
    first = driver("exp", *options, environment=cluster)
    job = job_of(tmp_path / "exp/ld")
    first.kill()
    first.wait()
    status, errors = finished(driver("exp", *options, environment=cluster))
    assert status == 0, errors
    assert f"job {job} of this run is in the queue already" in errors
    assert read_json(tmp_path / "exp/ld/model.json")["epochs"] == 2
    assert len(list((tmp_path / "exp/ld/slurm").glob(f"{job}_*_log.out"))) == 2


@pytest.mark.slow
def test_a_recipe_submits_its_trainings(cluster, root, tiny_corpus, tmp_path):
    environment = {**cluster, "PYTHONPATH": str(root), "DLD_VENV": sys.prefix}
    command = [root / "recipes/mini/run.sh", "--stage", "4", "--stop-stage", "4", "--systems", "static"]
    command += [
        "--data",
        tiny_corpus,
        "--exp",
        tmp_path,
        "--device",
        "cpu",
        "--launcher",
        "slurm",
        "--slurm",
        "time=10",
    ]
    command += ["--train-args", "--num_blocks 3 --d_model 16 --num_epochs 1 --valid_depths [3] --decode_depths [3]"]
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "epoch 1/1" in done.stderr
    job = read_json(tmp_path / "static/slurm/job.json")["job"]
    assert read_json(tmp_path / f"static/slurm/{job}_status.json") == {"status": 0}


@pytest.mark.slow
def test_an_error_in_the_job_is_that_of_the_driver(driver, cluster, tmp_path):
    options = ("--launcher", "slurm", "--slurm", "time=10")
    status, errors = finished(driver("exp", *options, environment=cluster, min_duration=1000, max_duration="null"))
    assert status == 1
    assert "no training utterances left" in errors
    status, errors = finished(driver("other", *options[:3], "partition=none", environment=cluster))
    assert status == 1
    assert "SLURM refuses the job" in errors and "invalid partition" in errors


def test_a_cancelled_job_is_an_error(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(slurm, "LOOK", 0.0)
    slurm.log_of(tmp_path, "7").write_text("epoch 1\n")
    states = iter(["PENDING (Resources)", "RUNNING (vm)", ""])
    with pytest.raises(DldError, match="job 7 ended without a result: it was cancelled"):
        slurm.follow(tmp_path, "7", lambda: next(states))
    assert capsys.readouterr().err == "epoch 1\n"


def test_a_restart_counts_once(monkeypatch):
    words = ("ld.yaml", "--restart", "true", "--lr", "1")
    assert slurm.begun_before(words) == list(words)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert slurm.begun_before(words) == ["ld.yaml", "--lr", "1"]


def test_submitit_takes_what_is_asked_for(tmp_path, monkeypatch):
    submitit = pytest.importorskip("submitit")
    monkeypatch.setattr(submitit.SlurmExecutor, "affinity", classmethod(lambda cls: 1))
    executor = submitit.SlurmExecutor(tmp_path)
    request = Request.parse("--partition=gpu time=1-00:00:30 nodes=2 gpus-per-node=a100:4 cpus_per_task=8 exclusive")
    executor.update_parameters(**request.parameters("dld-ld"))
    script = executor._make_submission_file_text("command", "uid").splitlines()
    for line in ("partition=gpu", "time=1441", "nodes=2", "gpus-per-node=a100:4", "ntasks-per-node=4", "exclusive"):
        assert f"#SBATCH --{line}" in script
    assert "#SBATCH --cpus-per-task=8" in script and "#SBATCH --requeue" in script
    assert "#SBATCH --signal=USR2@120" in script
    assert any("srun" in line and "--open-mode=append --kill-on-bad-exit=1" in line for line in script)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nodes=two", "nodes=two must be a whole number of at least 1"),
        ("time=soon", "time=soon is not a time limit"),
        ("partition=", "'partition=' is not an option of sbatch"),
        ("'a b'", "is not an option of sbatch"),
    ],
)
def test_wrong_options_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        Request.parse(text)


@pytest.mark.parametrize(("text", "minutes"), [("90", 90), ("90:30", 91), ("24:00:00", 1440), ("2-12", 3600)])
def test_time_limits_are_those_of_sbatch(text, minutes):
    assert Request.parse(f"time={text}").minutes == minutes


def test_the_processes_of_a_job_find_each_other():
    class Environment:
        global_rank, local_rank, num_tasks, hostnames, job_id = 5, 1, 8, ["node3", "node4"], "12345678"

    found = slurm.rendezvous(Environment())
    assert found["RANK"] == "5" and found["LOCAL_RANK"] == "1" and found["WORLD_SIZE"] == "8"
    assert found["MASTER_ADDR"] == "node3" and 20000 <= int(found["MASTER_PORT"]) < 40000


def test_a_machine_without_slurm_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DldError, match="needs the commands of SLURM"):
        slurm.submit(Training("dld.bin.train", ("ld.yaml",), str(tmp_path)), Request(), tmp_path)


def test_a_job_runs_the_same_command_again():
    pytest.importorskip("submitit")
    training = Training("dld.bin.train", ("ld.yaml",), "folder")
    assert training.checkpoint().function == training
