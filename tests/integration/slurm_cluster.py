"""Slurm nodes on one machine, for tests: munged, slurmctld and a slurmd a node, in a directory and on ports of
their own; no systemd, no cgroups. Needs root and the packages of install_slurm.sh.

Where the kernel lets us, a node is a namespace of processes and of a host name: nodes have names of their own
(what is lost on another is not seen by looking at pids), and a node that dies takes all of its processes. Else
nodes share the machine's name, and a dying node's processes are found by their environment."""

import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import time

PROGRAMS = ["slurmctld", "slurmd", "munged", "sbatch", "scontrol", "squeue", "scancel", "sinfo", "mpirun"]
START_LIMIT = 60  # seconds, on a busy machine
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

CONFIG = """
ClusterName=ropesweep
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.socket,cred_expire=5
SlurmctldPort={ports[0]}
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=1,sched_interval=1,sched_min_interval=100000,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
ReturnToService=2
SlurmdParameters=config_overrides
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/%n/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/%n/slurmd.pid
SlurmctldLogFile={directory}/slurmctld.log
SlurmdLogFile={directory}/%n/slurmd.log
SlurmctldDebug=info
SlurmdDebug=info
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
JobRequeue=1
KillWait={kill_wait}
SlurmdTimeout={node_timeout}
MinJobAge=600
InactiveLimit=0
OverTimeLimit=0
GresTypes=gpu
TmpFS={directory}/%n/tmp
{nodes}
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace}
PartitionName=urgent Nodes=ALL MaxTime=INFINITE State=UP PriorityTier=9 PreemptMode=OFF
"""


def missing():
    """Why there can't be a cluster here, or None."""
    if os.geteuid() != 0:
        return "Slurm's daemons are started by root, and this is not root"
    gone = [name for name in PROGRAMS if shutil.which(name, path=PATH) is None]
    return f"not installed: {', '.join(gone)} (tests/integration/install_slurm.sh)" if gone else None


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


class Cluster:
    """Nodes n1, n2, … with so many GPUs each (device files that are nothing but names)."""

    def __init__(self, directory, gpus=(2, 2), kill_wait=5, node_timeout=10, grace=0):
        self.directory = pathlib.Path(directory).resolve()
        self.gpus, self.daemons = dict(zip((f"n{i + 1}" for i in range(len(gpus))), gpus)), {}
        self.separate = subprocess.run(["unshare", "--uts", "--pid", "--fork", "--mount-proc", "hostname", "n1"],
                                       capture_output=True).returncode == 0
        host = socket.gethostname().split(".")[0]
        ports = free_ports(1 + len(gpus))
        nodes, gres = [], []
        for (name, count), port in zip(self.gpus.items(), ports[1:]):
            for folder in ("spool", "tmp", "dev"):
                (self.directory / name / folder).mkdir(parents=True)
            for index in range(count):  # A GPU of Slurm's is a device file; this one is /dev/null's twin.
                os.mknod(self.directory / name / f"dev/gpu{index}", 0o20666, os.makedev(1, 3))
            if count:
                gres.append(f"NodeName={name} Name=gpu File={self.directory}/{name}/dev/gpu[0-{count - 1}]")
            nodes.append(f"NodeName={name} NodeHostname={name if self.separate else host} NodeAddr=127.0.0.1 "
                         f"Port={port} CPUs=16 Boards=1 SocketsPerBoard=1 CoresPerSocket=16 ThreadsPerCore=1 "
                         f"RealMemory=1000 {f'Gres=gpu:{count}' if count else ''} State=UNKNOWN")
        (self.directory / "state").mkdir()
        (self.directory / "gres.conf").write_text("\n".join(gres) + "\n")
        (self.directory / "slurm.conf").write_text(CONFIG.format(
            host=host, directory=self.directory, ports=ports, nodes="\n".join(nodes), kill_wait=kill_wait,
            node_timeout=node_timeout, grace=grace))
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("SLURM", "OMPI_", "PMIX_"))}
        self.environment.update(SLURM_CONF=str(self.directory / "slurm.conf"), PATH=PATH)

    def __enter__(self):
        key = self.directory / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o400)
        # --force: its directories may be anyone's here.
        self.start_daemon("munged", ["munged", "--force", "--foreground", f"--socket={self.directory}/munge.socket",
                                     f"--key-file={key}", f"--pid-file={self.directory}/munged.pid",
                                     f"--log-file={self.directory}/munged.log",
                                     f"--seed-file={self.directory}/munged.seed"])
        self.wait_until(lambda: (self.directory / "munge.socket").exists(), "munged")
        self.start_daemon("slurmctld", ["slurmctld", "-D", "-f", self.environment["SLURM_CONF"]])
        for name in self.gpus:
            self.start_node(name)
        self.wait_until(lambda: all(self.node_state(name) == "idle" for name in self.gpus), "the nodes")
        return self

    def __exit__(self, *_):
        for name in [*self.gpus, "slurmctld", "munged"]:
            self.kill(name)

    def start_daemon(self, name, command, node=None):
        prefix = []
        environment = dict(self.environment)
        if node:
            environment["ROPESWEEP_TEST_NODE"] = f"{self.directory}/{node}"
            if self.separate:
                prefix = ["unshare", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
                          "sh", "-c", 'hostname "$0" && exec "$@"', node]
        log = open(self.directory / f"{name}.out", "a")
        self.daemons[name] = subprocess.Popen([*prefix, *command], env=environment, stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log, start_new_session=True)

    def start_node(self, name):
        self.start_daemon(name, ["slurmd", "-D", "-N", name, "-f", self.environment["SLURM_CONF"]], node=name)

    def kill(self, name):
        """A daemon with SIGKILL; a node with all that runs on it."""
        daemon = self.daemons.pop(name, None)
        if daemon is None:
            return
        daemon.kill()  # Of a namespace this is the guardian, and --kill-child ends everything in it.
        daemon.wait()
        if name in self.gpus and not self.separate:
            for _ in range(20):
                pids = self.processes(name)
                for pid in pids:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                if not pids:
                    break
                time.sleep(0.05)

    def processes(self, node):
        """Pids of what runs on a node, as this process sees them."""
        mark = f"ROPESWEEP_TEST_NODE={self.directory}/{node}".encode()
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if mark in (entry / "environ").read_bytes().split(b"\0"):
                        found.append(int(entry.name))
                except OSError:
                    pass
        return found

    def run(self, *command, check=True, **options):
        done = subprocess.run([str(part) for part in command], env={**self.environment, **options.pop("env", {})},
                              capture_output=True, text=True, timeout=120, **options)
        if check and done.returncode != 0:
            raise RuntimeError(f"{command}: {done.returncode}: {done.stdout}{done.stderr}\n{self.logs()}")
        return done.stdout

    def node_state(self, name):
        return self.run("sinfo", "-h", "-n", name, "-p", "main", "-o", "%t", check=False).strip()

    def job(self, number):
        """What Slurm says of a job: name → value."""
        text = self.run("scontrol", "--oneliner", "show", "job", number)
        return dict(part.split("=", 1) for part in text.split() if "=" in part)

    def wait_until(self, condition, what, seconds=START_LIMIT):
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{what}: not within {seconds} s\n{self.logs()}")
            time.sleep(0.1)

    def logs(self):
        text = ""
        for path in sorted([*self.directory.glob("*.log"), *self.directory.glob("*/*.log"),
                            *self.directory.glob("*.out")]):
            text += f"--- {path}\n{path.read_text(errors='replace')[-3000:]}"
        return text
