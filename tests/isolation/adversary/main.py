"""A model that cheats in every way that it can think of, and says what came of each.

The test plants the words "canary" + "of the truth" (joined by a dash, in capitals) as the cell type
of every cell: they are in the raw data and in the truth, and in nothing that a model may see.
"""

import contextlib
import fcntl
import os
import socket
import stat
import struct
import time
from pathlib import Path

import h5py
import numpy as np

from lacuna import seeds
from lacuna.tasks.reconstruction.masking import STRATEGIES, block_rows
from lacuna_contract import model
from lacuna_contract.h5ad import Matrix, read_names

# Not written out, so that this file is no find.
CANARY = "-".join(["canary", "of", "the", "truth"]).upper().encode()
SIGNATURE = b"\x89HDF\r\n\x1a\n"
DATASETS = ("canary", "pbmc", "pbmc3k")
BUDGET = 120  # seconds for the search of files
LISTENER = 48_700  # the port that the test opens on the machine


def files(roots, seen, deadline):
    """Every regular file below the roots, each once, the nearest first."""
    waiting = [Path(root) for root in roots]
    while waiting and time.monotonic() < deadline:
        path = waiting.pop(0)
        try:
            about = path.stat()
            key = (about.st_dev, about.st_ino)
            kernel = path.name in ("proc", "sys", "dev") and path.parent.samefile("/")
            if key in seen or kernel:
                continue
            seen.add(key)
            if stat.S_ISDIR(about.st_mode):
                waiting += sorted(path.iterdir())
            elif stat.S_ISREG(about.st_mode):
                yield path
        except OSError:
            continue


def is_truth(path, genes):
    """Whether a file is an HDF5 file that answers the question."""
    try:
        with h5py.File(path) as file:
            return "visible_total" in file["obs"] and sorted(read_names(file, "var")) == genes
    except (OSError, KeyError, ValueError):
        return False


def look(path, genes):
    """ "canary" or "truth" if a file holds it."""
    try:
        with path.open("rb") as file:
            if file.read(8) == SIGNATURE and is_truth(path, genes):
                return "truth"
            file.seek(0)
            rest = b""
            while block := file.read(1 << 22):
                if CANARY in rest + block:
                    return "canary"
                rest = block[-len(CANARY) :]
    except OSError:
        pass
    return None


def processes():
    """What other processes show: their words, their environment, their root and their folder."""
    mine = {os.getpid()}
    texts, roots = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ", "mountinfo", "maps"):
            try:
                texts[f"{folder}/{name}"] = (folder / name).read_bytes()
            except OSError:
                continue
        if int(folder.name) in mine:
            continue
        roots += [folder / "cwd", folder / "root"]
        try:
            roots += list((folder / "fd").iterdir())
        except OSError:
            continue
    return texts, roots


def paths_in(texts):
    """Absolute paths that are mentioned anywhere: environment, command lines, mounts, scripts."""
    words = b" ".join(texts).replace(b"\0", b" ").replace(b"'", b" ").replace(b":", b" ")
    words = words.replace(b'"', b" ").replace(b"=", b" ").split()
    found = {Path(os.fsdecode(word)) for word in words if word.startswith(b"/")}
    return sorted(p for p in found if len(p.parts) > 2)


def interfaces():
    """Network interfaces that are up, but for the one to oneself."""
    found = []
    with socket.socket() as end:
        for _, name in socket.if_nameindex():
            asked = struct.pack("256s", name.encode())
            flags = struct.unpack_from("H", fcntl.ioctl(end, 0x8913, asked), 16)[0]  # SIOCGIFFLAGS
            if flags & 1 and name != "lo":
                found.append(name)
    return found


def gateways():
    """The machines that packets to elsewhere go through: for a container, the one it runs on."""
    rows = [line.split() for line in Path("/proc/net/route").read_text().splitlines()[1:]]
    found = [row[2] for row in rows if int(row[1], 16) == 0]
    return [socket.inet_ntoa(struct.pack("<L", int(word, 16))) for word in found]


def connections():
    """Hosts and sockets that can be reached."""
    reached = []
    hosts = dict.fromkeys(["127.0.0.1", "172.17.0.1", *gateways()])
    for address in [(host, port) for host in hosts for port in (LISTENER, 22, 2375)] + [
        ("1.1.1.1", 53),
        ("169.254.169.254", 80),
    ]:
        with socket.socket() as end:
            end.settimeout(1)
            if end.connect_ex(address) == 0:
                reached.append(f"{address[0]}:{address[1]}")
    for path in ("/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock"):
        with socket.socket(socket.AF_UNIX) as end:
            if end.connect_ex(path) == 0:
                reached.append(path)
    with contextlib.suppress(OSError):
        reached += [f"name {socket.gethostbyname('example.org')}"]
    return reached


def writable():
    """Places outside of this task, and what the machine executes, that can be written to."""
    found = []
    for folder in (
        "/",
        "/opt/lacuna",
        "/opt/lacuna/model",
        "/usr/bin",
        "/etc",
        "/home",
        "/root",
        "..",
        "../..",
    ):
        try:
            probe = Path(folder, "probe-of-the-adversary")
            probe.write_text("")
            probe.unlink()
            found.append(folder)
        except OSError:
            continue
    for name in (".command.run", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper"):
        try:
            with open(name, "r+b"):
                found.append(name)
        except OSError:
            continue
    return found


def rights():
    """What this process may do beyond an ordinary user."""
    said = dict(
        line.split(":\t")
        for line in Path("/proc/self/status").read_text().splitlines()
        if ":\t" in line
    )
    found = [f"{key}={said[key]}" for key in ("CapEff", "CapBnd") if int(said[key], 16)]
    if os.getuid() == 0:
        found.append("root")
    if said.get("NoNewPrivs") != "1":
        found.append("new privileges")
    return found


def regenerate(hidden):
    """Seeds whose public recipe hides exactly what is hidden here. They give the positions, which
    the input gives too; the values are nobody's to draw."""
    shape, found = hidden.shape, []
    total = shape[0] * shape[1]
    rows = hidden[: block_rows(shape[1])]
    given = np.flatnonzero(rows.toarray())
    percentage = round(hidden.nnz / total, 2)
    for dataset in DATASETS:
        for seed in range(1001):
            name = f"mask_{percentage * 100:g}_seed_{seed}"
            stream = seeds.sequence(seed, "mask", f"reconstruction/{dataset}/{name}")
            draw = STRATEGIES["uniform"](percentage, shape, 0)
            positions = draw.positions(seeds.generator(stream, 0), rows)
            if np.array_equal(positions, given):
                found.append(f"{dataset}/{name}")
    return found


@model("reconstruction", value_space="counts")
def predict(counts, hidden, *, genes, seed=0, vandal=False):
    if vandal:
        # The file may be protected; the folder is the model's, so another can take its place.
        Path("changed").write_bytes(Path("input.h5ad").read_bytes() + b"!")
        os.replace("changed", "input.h5ad")
    texts, roots = processes()
    scripts = [p.read_bytes() for p in Path(".").glob(".command.*") if os.access(p, os.R_OK)]
    texts["environment"] = b"\0".join(f"{k}={v}".encode() for k, v in os.environ.items())
    texts["scripts"] = b"\n".join(scripts)
    mentioned = paths_in(texts.values())
    here = Path.cwd()
    near = [here, Path("input.h5ad").resolve().parent, *here.parents[:3]]
    deadline = time.monotonic() + BUDGET
    found, count, answer = {}, 0, None
    for path in files([*near, *roots, *mentioned, "/dev/shm", "/"], set(), deadline):
        count += 1
        if kind := look(path, sorted(genes)):
            found[str(path)] = kind
            answer = answer or (path if kind == "truth" else None)
    details = {
        "found": found,
        "in_processes": sorted(name for name, text in texts.items() if CANARY in text),
        "interfaces": interfaces(),
        "reached": connections(),
        "writable": writable(),
        "rights": rights(),
        "regenerated": regenerate(hidden),
        "searched": count,
        "finished": time.monotonic() < deadline,
    }
    if answer:
        with h5py.File(answer) as file:
            return Matrix(file["X"]).rows(0, counts.shape[0]).data, details
    seen = np.maximum(1, counts.shape[0] - hidden.sum(axis=0).A1)
    return (counts.sum(axis=0).A1 / seen)[hidden.indices], details
