"""A Slurm of one node, this machine, with everything of its own in one folder."""

import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch")
CONFIG = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmdPort={slurmd}
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/linux
ReturnToService=2
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory} Gres=gpu:1 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def install() -> str | None:
    """Install Slurm where it is missing and that is allowed. Says why not, or None."""
    path = "/usr/sbin:" + os.environ["PATH"]
    if all(shutil.which(program, path=path) for program in PROGRAMS):
        return None if os.geteuid() == 0 else "a cluster of one's own needs root"
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        return "slurm-wlm and munge are not installed, and this is not root on Debian"
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True}
    subprocess.run(["apt-get", "update"], check=False, **quiet)
    command = ["apt-get", "install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
    done = subprocess.run(command, check=False, text=True, **quiet)
    return f"slurm-wlm cannot be installed: {done.stderr[-500:]}" if done.returncode else None


class Cluster:
    """Starts on entering, ends on leaving. `env` is what sbatch and its kin need."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.env = {"SLURM_CONF": str(folder / "slurm.conf")}
        self._daemons: list[subprocess.Popen] = []

    def __enter__(self) -> "Cluster":
        folder, host = self.folder, socket.gethostname().split(".")[0]
        for name in ("state", "spool"):
            (folder / name).mkdir(parents=True)
        folder.chmod(0o755)
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        values = {"host": host, "folder": folder, "ctld": free_port(), "slurmd": free_port()}
        values |= {"cpus": os.cpu_count(), "memory": int(0.9 * pages / 2**20)}
        (folder / "slurm.conf").write_text(CONFIG.format(**values))
        # A device that is always there stands in for the GPU.
        (folder / "gres.conf").write_text("Name=gpu File=/dev/null\n")
        (folder / "munge.key").write_bytes(os.urandom(128))
        (folder / "munge.key").chmod(0o400)
        own = [f"--{what}-file={folder}/munge.{what}" for what in ("key", "pid", "log", "seed")]
        self._start("munged", "--foreground", "--force", f"--socket={folder}/munge.socket", *own)
        self._wait(lambda: (folder / "munge.socket").exists(), "munged")
        self._start("slurmctld", "-D")
        self._start("slurmd", "-D", "-N", host)
        self._wait(lambda: "idle" in self.call("sinfo", "-h", "-o", "%T"), "the node")
        return self

    def __exit__(self, *_: object) -> None:
        for daemon in reversed(self._daemons):
            daemon.terminate()
        for daemon in reversed(self._daemons):
            try:
                daemon.wait(10)
            except subprocess.TimeoutExpired:
                daemon.kill()

    def call(self, *command: str) -> str:
        """What one of Slurm's programs prints."""
        env = os.environ | self.env
        return subprocess.run(command, env=env, capture_output=True, text=True, check=False).stdout

    def _start(self, program: str, *arguments: str) -> None:
        path = shutil.which(program, path="/usr/sbin:" + os.environ["PATH"])
        log = (self.folder / f"{program}.out").open("w")
        command = [path, *arguments]
        env = os.environ | self.env
        self._daemons.append(subprocess.Popen(command, env=env, stdout=log, stderr=log))

    def _wait(self, ready, what: str) -> None:
        deadline = time.monotonic() + 60
        while not ready():
            if time.monotonic() > deadline:
                logs = {p.name: p.read_text()[-2000:] for p in self.folder.glob("*.out")}
                raise TimeoutError(f"{what} is not ready: {logs}")
            time.sleep(0.5)


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
