"""Sequences with their classes on disk: what a model gets, h5ad by split, FASTA and BED.

A folder of ``synthetic-benchmark generate``:

    law.json                    the law (schema `segmentation_law`)
    generated.json              what was asked for
    train.h5ad, val.h5ad, test.h5ad
                                base codes and classes, a split each; test.h5ad hides its classes
    truth.h5ad                  the classes of test.h5ad, and the law (schema `segmentation_truth`)
    train.fa, train.bed, ...    the same as text, the truth of the split test in test.bed too
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lacuna import seeds
from lacuna.genome.draw import draw
from lacuna.genome.law import VERSION, Law, read_law
from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.h5ad import H5adWriter, open_h5ad, read_names, read_uns
from lacuna_contract.sequences import BASES, HIDDEN, SPLITS, segments
from lacuna_contract.supervise import sha256
from lacuna_contract.tasks import segmentation

SHORTEST = 1000
#: Sequences that are drawn, written and forgotten at a time.
CHUNK = 64


@dataclass(frozen=True)
class Sizes:
    """How many sequences of each split, and how long they are."""

    train: int
    val: int
    test: int
    length: int

    def __post_init__(self):
        for split in SPLITS:
            if getattr(self, split) < 1:
                raise ContractError(
                    f"{getattr(self, split)} sequences in the split '{split}'; expected at least 1"
                )
        if self.length < SHORTEST:
            raise ContractError(
                f"sequences of {self.length} positions; expected at least {SHORTEST}, for shorter "
                "windows hold hardly a complete segment"
            )


def names(split: str, sizes: Sizes) -> list[str]:
    """The names of a split's sequences, e.g. test_0."""
    return [f"{split}_{i}" for i in range(getattr(sizes, split))]


def chunks(
    law: Law, sizes: Sizes, split: str, parent: np.random.SeedSequence, size: int = CHUNK
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(base codes, classes) of a split, some sequences at a time; the same for every `size`."""
    total = getattr(sizes, split)
    for first in range(0, total, size):
        numbers = range(first, min(first + size, total))
        yield draw(law, sizes.length, numbers, parent, SPLITS.index(split))


def write_input(
    path: Path,
    parts: Sequence[tuple[str, Iterator[tuple[np.ndarray, np.ndarray]]]],
    rows: Mapping[str, list[str]],
    length: int,
    classes: Sequence[str],
) -> None:
    """What a model gets: `parts` are splits with what `chunks` yields, `rows` their names."""
    obs = [name for split, _ in parts for name in rows[split]]
    hidden = sum(len(rows[split]) for split, _ in parts if split == "test") * length
    with H5adWriter(path, obs, [str(i) for i in range(length)]) as out:
        x, y = out.dense("X", np.uint8), out.dense("layers/labels", np.int8)
        for split, blocks in parts:
            for codes, labels in blocks:
                x.append(codes)
                y.append(np.full_like(labels, HIDDEN) if split == "test" else labels)
        out.column("obs", "split", [split for split, _ in parts for _ in rows[split]])
        about = {"task": "segmentation", "kind": "hidden", "n_hidden": hidden}
        out.uns(about | {"classes": ",".join(classes)})


def write_pair(
    law: Law,
    sizes: Sizes,
    parent: np.random.SeedSequence,
    input: Path,
    truth: Path,
    arguments: Mapping[str, Any],
) -> None:
    """Draw sequences; write what a model gets (`segmentation_input`), and the truth."""
    parts = [(split, chunks(law, sizes, split, parent)) for split in SPLITS]
    rows = {split: names(split, sizes) for split in SPLITS}
    write_input(input, parts, rows, sizes.length, law.classes)
    write_truth(truth, law, sizes, chunks(law, sizes, "test", parent), sha256(input), arguments)


def write_truth(
    path: Path,
    law: Law,
    sizes: Sizes,
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
    input_sha256: str,
    arguments: Mapping[str, Any],
) -> None:
    """The classes of the split "test", and the law."""
    with H5adWriter(path, names("test", sizes), [str(i) for i in range(sizes.length)]) as out:
        x = out.dense("X", np.int8)
        for _, labels in blocks:
            x.append(labels)
        out.uns(
            {
                "task": "segmentation",
                "kind": "hidden",
                "n_hidden": sizes.test * sizes.length,
                "classes": ",".join(law.classes),
                "law": json.dumps(law.to_json()),
                "input_sha256": input_sha256,
                "arguments": dict(arguments),
            }
        )


def generate(folder: Path, law: Law, sizes: Sizes, seed: int, arguments: Mapping[str, Any]) -> None:
    """Write a folder of sequences; see the module's text."""
    folder.mkdir(parents=True, exist_ok=True)
    parent = seeds.sequence(seed, "genome")
    (folder / "law.json").write_text(json.dumps(law.to_json(), indent=1) + "\n")
    about = {"version": VERSION, "arguments": dict(arguments)}
    (folder / "generated.json").write_text(json.dumps(about, indent=1) + "\n")
    rows = {split: names(split, sizes) for split in SPLITS}
    for split in SPLITS:
        blocks = chunks(law, sizes, split, parent)
        write_input(folder / f"{split}.h5ad", [(split, blocks)], rows, sizes.length, law.classes)
        with ExitStack() as stack:
            fasta = stack.enter_context((folder / f"{split}.fa").open("w"))
            bed = stack.enter_context((folder / f"{split}.bed").open("w"))
            first = 0
            for codes, labels in chunks(law, sizes, split, parent):
                some = rows[split][first : first + len(codes)]
                first += len(codes)
                fasta.writelines(fasta_lines(some, codes))
                bed.writelines(bed_lines(some, labels, law.classes))
    whole = folder / ".input.h5ad"
    try:
        assemble(folder, whole)
        digest = sha256(whole)
    finally:
        whole.unlink(missing_ok=True)
    blocks = chunks(law, sizes, "test", parent)
    write_truth(folder / "truth.h5ad", law, sizes, blocks, digest, arguments)


def folder_law(folder: Path) -> Law:
    """The law of a folder; `ContractError` where it is none, or one of another version."""
    path = folder / "law.json"
    if not path.is_file():
        raise ContractError(
            f"{folder} has no law.json; expected a folder of synthetic-benchmark generate"
        )
    return read_law(path)


def assemble(folder: Path, output: Path) -> None:
    """The three splits of a folder as one file, which is what a model gets: the same bytes as in
    the pipeline. `ContractError` for a folder of another version, or one that lacks something."""
    law = folder_law(folder)
    parts, rows, lengths = [], {}, set()
    with ExitStack() as stack:
        for split in SPLITS:
            path = folder / f"{split}.h5ad"
            file = stack.enter_context(open_h5ad(path))
            rows[split] = read_names(file, "obs")
            if not rows[split]:
                raise ContractError(f"{path}: the split '{split}' is empty")
            found = tuple(read_uns(file).get("classes", "").split(","))
            if found != law.classes:
                raise ContractError(
                    f"{path} has the classes {', '.join(found)}; law.json has "
                    f"{', '.join(law.classes)}"
                )
            lengths.add(file["X"].shape[1])
            parts.append((split, _stored(file)))
        if len(lengths) > 1:
            raise ContractError(
                f"{folder}: sequences of {' and '.join(map(str, sorted(lengths)))} positions; "
                "expected one length in all splits"
            )
        write_input(output, parts, rows, lengths.pop(), law.classes)
    segmentation.read(output)


def _stored(file: Any) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for first in range(0, file["X"].shape[0], CHUNK):
        at = slice(first, first + CHUNK)
        yield file["X"][at], file["layers/labels"][at]


def fasta_lines(rows: Sequence[str], codes: np.ndarray, width: int = 80) -> Iterator[str]:
    """Sequences as FASTA, 80 letters a line."""
    letters = np.frombuffer(BASES.encode(), dtype=np.uint8)
    for name, row in zip(rows, codes, strict=True):
        text = letters[row].tobytes().decode()
        yield f">{name}\n"
        yield from (text[at : at + width] + "\n" for at in range(0, len(text), width))


def bed_lines(rows: Sequence[str], labels: np.ndarray, classes: Sequence[str]) -> Iterator[str]:
    """Segments as BED (0-based, end exclusive): sequence, start, end, class, 1 or 0, '+'. The fifth
    column is 0 where the window cuts the segment, so that its length is no duration."""
    length = labels.shape[1]
    for row, start, end, label in segments(labels).tolist():
        whole = int(start > 0 and end < length)
        yield f"{rows[row]}\t{start}\t{end}\t{classes[label]}\t{whole}\t+\n"


def read_fasta(path: Path) -> tuple[list[str], np.ndarray]:
    """Names, and base codes uint8 (n, T); `ContractError` for other letters than ACGTN, or for
    sequences of several lengths."""
    found: dict[str, list[str]] = {}
    for line in path.read_text().split():
        if line.startswith(">"):
            if line[1:] in found:
                raise ContractError(f"{path}: the sequence '{line[1:]}' is there twice")
            current = found[line[1:]] = []
        elif not found:
            raise ContractError(f"{path} is no FASTA: it begins with '{line[:20]}'")
        else:
            current.append(line)
    lengths = {sum(map(len, lines)) for lines in found.values()}
    if len(lengths) != 1:
        raise ContractError(
            f"{path}: sequences of {len(lengths)} lengths; expected one sequence at least, all of "
            "one length"
        )
    table = np.full(256, 255, dtype=np.uint8)
    for code, base in enumerate(BASES):
        table[[ord(base), ord(base.lower())]] = code
    codes = np.empty((len(found), lengths.pop()), dtype=np.uint8)
    for i, (name, lines) in enumerate(found.items()):
        codes[i] = table[np.frombuffer("".join(lines).encode("latin-1"), dtype=np.uint8)]
        if codes[i].max() > len(BASES):
            at = int(codes[i].argmax())
            raise ContractError(
                f"{path}: the letter '{''.join(lines)[at]}' at position {at} of '{name}'; expected "
                f"only {', '.join(BASES)}"
            )
    return list(found), codes


def read_bed(path: Path, rows: Sequence[str], length: int, classes: Sequence[str]) -> np.ndarray:
    """Classes int8 (n, T) of the sequences called `rows`; `ContractError` for a class that there is
    none of, or segments that do not tile the sequences."""
    labels = np.full((len(rows), length), HIDDEN, dtype=np.int8)
    number = {name: i for i, name in enumerate(rows)}
    code = {name: i for i, name in enumerate(classes)}
    for count, line in enumerate(path.read_text().splitlines(), 1):
        fields = line.split("\t")
        where = f"{path}, line {count}"
        if len(fields) < 4 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise ContractError(f"{where}: expected sequence, start, end, class; found '{line}'")
        name, start, end, kind = fields[0], int(fields[1]), int(fields[2]), fields[3]
        if name not in number:
            raise ContractError(f"{where}: {suggest(name, rows, 'sequence')}")
        if kind not in code:
            raise ContractError(f"{where}: {suggest(kind, classes, 'class')}")
        if not start < end <= length or (labels[number[name], start:end] != HIDDEN).any():
            raise ContractError(
                f"{where}: {start}..{end} overlaps another segment, or lies outside 0..{length}"
            )
        labels[number[name], start:end] = code[kind]
    if (labels == HIDDEN).any():
        row, at = np.argwhere(labels == HIDDEN)[0]
        raise ContractError(f"{path}: no class at position {at} of '{rows[row]}'")
    return labels
