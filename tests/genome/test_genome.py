"""The law of synthetic genomes, what is drawn from it, and the files of it."""

import json
from dataclasses import replace

import numpy as np
import pytest

from lacuna import seeds
from lacuna.cli import synthetic_benchmark
from lacuna.genome import files
from lacuna.genome.draw import draw
from lacuna.genome.law import Durations, from_json
from lacuna.genome.presets import PRESETS, codon_usage, preset
from lacuna_contract.errors import ContractError
from lacuna_contract.h5ad import open_h5ad, read_uns
from lacuna_contract.sequences import (
    Segmentation,
    boundaries,
    complete,
    kmer_frequencies,
    one_hot,
    segments,
)
from lacuna_contract.tasks import segmentation

SEED = np.random.SeedSequence(8)
SIZES = files.Sizes(train=5, val=2, test=3, length=1200)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("classes", [3, 5])
def test_a_law_survives_json(name, classes):
    law = preset(name, classes)
    again = from_json(json.loads(json.dumps(law.to_json())))
    one, two = (draw(each, 3000, range(2), SEED) for each in (law, again))
    assert all((a == b).all() for a, b in zip(one, two, strict=True))


def test_a_window_is_one_of_an_endless_genome():
    law = preset("motifs", 5)
    length = 20_000
    _, labels = draw(law, length, range(150), SEED)
    found = segments(labels)
    whole = complete(found, length)
    for number, name in enumerate(law.classes):
        share = law.share(name)
        assert (labels == number).mean() == pytest.approx(share, rel=0.15)
        # A window may begin anywhere: so does its first position.
        assert (labels[:, 0] == number).mean() == pytest.approx(share, abs=0.13)
        lengths = (found[:, 2] - found[:, 1])[whole & (found[:, 3] == number)]
        expected = law.durations[name].in_window(length)
        d = np.arange(1, len(expected) + 1)
        mean = expected @ d
        spread = np.sqrt(expected @ (d - mean) ** 2 / len(lengths))
        assert lengths.mean() == pytest.approx(mean, abs=4 * spread)
        assert lengths.min() >= law.durations[name].low
        assert lengths.max() <= law.durations[name].high


def test_genes_have_two_to_eight_exons_in_their_order():
    law = replace(
        preset("motifs", 5),
        durations={n: Durations(100, 0.2, 50, 200) for n in preset("motifs", 5).classes},
    )
    _, labels = draw(law, 100_000, range(1), SEED)
    text = "".join(str(label) for label in segments(labels)[:, 3])
    genes = text[text.index("0") : text.rindex("0")].strip("0").split("0")
    assert len(genes) > 40
    counts = []
    for gene in genes:
        assert gene[0] == "3"
        assert gene[-1] == "4"
        counts.append(gene.count("1"))
        assert gene[1:-1] == "1" + "21" * (counts[-1] - 1)
    assert set(counts) == set(range(2, 9))


def test_splice_sites_and_codons():
    law = preset("gene_like")
    codes, labels = draw(law, 20_000, range(150), SEED)
    found = segments(labels)
    inner = found[complete(found, 20_000) & (found[:, 3] == 2)]
    sites = np.stack([codes[r, s - 3 : s + 6] for r, s, _, _ in inner])
    for column, expected in zip(sites.T, law.donor.probabilities, strict=True):
        assert np.bincount(column, minlength=4) / len(sites) == pytest.approx(expected, abs=0.08)
    ends = np.stack([codes[r, e - 15 : e + 2] for r, _, e, _ in inner])
    for column, expected in zip(ends.T, law.acceptor.probabilities, strict=True):
        assert np.bincount(column, minlength=4) / len(ends) == pytest.approx(expected, abs=0.08)
    # The frame goes on across introns: in it, codons are those of the law; shifted, they are not.
    usage = codon_usage()
    counts = np.zeros((3, 64))
    at = 0
    while at < len(found):
        row, start, _, label = found[at]
        if label == 0 and at + 1 < len(found) and found[at + 1, 0] == row:
            phase = 0
            for _, s, e, kind in found[at + 1 :]:
                if kind == 0 or e == 20_000 or s <= start:
                    break
                if kind == 1:
                    # From the first whole codon that no acceptor reaches to before the donor.
                    first = s + 3 + (-(phase + 3)) % 3
                    for shift in range(3):
                        for t in range(first + shift, e - 6, 3):
                            a, b, c = codes[row, t : t + 3]
                            counts[shift, 16 * a + 4 * b + c] += 1
                    phase = (phase + e - s) % 3
        at += 1
    per = (counts * np.log(usage)).sum(axis=1) / counts.sum(axis=1)
    entropy = float(usage @ np.log(usage))
    assert per[0] == pytest.approx(entropy, abs=0.02)
    assert per[0] > per[1] + 0.2
    assert per[0] > per[2] + 0.2


def test_the_same_bytes_whatever_the_chunks(tmp_path):
    law = preset("gene_like")
    whole = list(files.chunks(law, SIZES, "train", SEED, size=5))
    pieces = list(files.chunks(law, SIZES, "train", SEED, size=2))
    for i in (0, 1):
        assert (whole[0][i] == np.concatenate([p[i] for p in pieces])).all()
    for name in ("a", "b"):
        files.generate(tmp_path / name, law, SIZES, 42, {"seed": 42})
    there = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert there == sorted(
        ["generated.json", "law.json", "truth.h5ad"]
        + [f"{s}.{end}" for s in ("train", "val", "test") for end in ("h5ad", "fa", "bed")]
    )
    for name in there:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_folders_stream_is_no_models(tmp_path):
    """As in the pipeline: a model whose seed is the folder's cannot draw the sequences again."""
    law = preset("gene_like")
    files.generate(tmp_path / "a", law, SIZES, 42, {"seed": 42})
    _, made = files.read_fasta(tmp_path / "a/test.fa")

    def drawn(parent):
        return np.concatenate([codes for codes, _ in files.chunks(law, SIZES, "test", parent)])

    assert (made == drawn(seeds.sequence(42, "genome"))).all()
    assert not (made == drawn(np.random.SeedSequence(42))).all()


@pytest.fixture
def folder(tmp_path):
    command = "generate --num-train 5 --num-val 2 --num-test 3 --seq-length 1200 --num-classes 5"
    assert synthetic_benchmark([*command.split(), "--output-dir", str(tmp_path / "data")]) == 0
    return tmp_path / "data"


def test_there_and_back(folder, tmp_path):
    files.assemble(folder, tmp_path / "input.h5ad")
    data = segmentation.read(tmp_path / "input.h5ad")
    assert data.sequences.shape == (10, 1200)
    assert (data.labels[data.test] == -1).all()
    with open_h5ad(folder / "truth.h5ad") as file:
        truth, about = file["X"][:], read_uns(file)
    assert about["input_sha256"] == files.sha256(tmp_path / "input.h5ad")
    for split, rows in (("train", data.train), ("test", data.test)):
        names, codes = files.read_fasta(folder / f"{split}.fa")
        assert (codes == data.sequences[rows]).all()
        labels = files.read_bed(folder / f"{split}.bed", names, 1200, data.classes)
        assert (labels == (truth if split == "test" else data.labels[rows])).all()
    for line in (folder / "train.bed").read_text().splitlines():
        _, start, end, _, whole, _ = line.split("\t")
        assert whole == str(int(int(start) > 0 and int(end) < 1200))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--seq-length 999", "sequences of 999 positions; expected at least 1000"),
        ("--num-classes 4", "4 classes; expected 3 (intergenic, exon, intron) or 5"),
        ("--num-val 0", "0 sequences in the split 'val'; expected at least 1"),
        ("--preset gene_lik", "unknown preset 'gene_lik'. Did you mean 'gene_like'?"),
        ("--gc 1.5", "gc=1.5: expected a share"),
    ],
)
def test_what_cannot_be_generated(words, said, tmp_path, capsys):
    arguments = ["generate", "--output-dir", str(tmp_path / "x"), *words.split()]
    assert synthetic_benchmark(arguments) == 1
    assert said in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_defaults_of_generate():
    from argparse import ArgumentParser

    from lacuna.synthetic import generate

    parser = ArgumentParser()
    generate.add_arguments(parser)
    found = vars(parser.parse_args(["--output-dir", "x"]))
    del found["output_dir"]
    assert found == {
        "num_train": 1000, "num_val": 200, "num_test": 200, "seq_length": 20_000,
        "num_classes": 3, "seed": 42, "preset": "gene_like", "splice_motifs": True, "gc": 0.42,
    }  # fmt: skip
    assert parser.parse_args(["--output-dir", "x", "--no-splice-motifs"]).splice_motifs is False


def test_without_motifs_introns_tell_nothing():
    law = preset("motifs", splice_motifs=False)
    codes, labels = draw(law, 20_000, range(20), SEED)
    begins = boundaries(labels) & (labels == 2)
    assert 0 < (codes[begins] == 2).mean() < 0.6


def test_a_folder_of_another_version(folder, tmp_path):
    law = json.loads((folder / "law.json").read_text())
    (folder / "law.json").write_text(json.dumps(law | {"version": 2}))
    with pytest.raises(ContractError, match="expected version 1: make the data again"):
        files.assemble(folder, tmp_path / "input.h5ad")
    (folder / "law.json").unlink()
    with pytest.raises(ContractError, match="has no law.json; expected a folder of synthetic-ben"):
        files.assemble(folder, tmp_path / "input.h5ad")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (">a\nACGU\n", "the letter 'U' at position 3 of 'a'; expected only A, C, G, T, N"),
        (">a\nACG\n>b\nAC\n", "sequences of 2 lengths"),
        ("ACGT\n", "is no FASTA"),
        (">a\nAC\n>a\nAC\n", "'a' is there twice"),
        ("", "expected one sequence at least"),
    ],
)
def test_bad_fasta(text, said, tmp_path):
    (tmp_path / "x.fa").write_text(text)
    with pytest.raises(ContractError, match=said):
        files.read_fasta(tmp_path / "x.fa")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a\t0\t4\texons\n", "unknown class 'exons'. Did you mean 'exon'?"),
        ("a\t0\t3\texon\n", "no class at position 3 of 'a'"),
        ("a\t0\t5\texon\n", "lies outside 0..4"),
        ("a\t0\t3\texon\na\t2\t4\texon\n", "overlaps another segment"),
        ("b\t0\t4\texon\n", "unknown sequence 'b'"),
        ("a 0 4 exon\n", "expected sequence, start, end, class"),
    ],
)
def test_bad_bed(text, said, tmp_path):
    (tmp_path / "x.bed").write_text(text)
    with pytest.raises(ContractError, match=said):
        files.read_bed(tmp_path / "x.bed", ["a"], 4, ("intergenic", "exon", "intron"))


def _data(**changed):
    made = {
        "sequences": np.zeros((3, 1000), dtype=np.uint8),
        "labels": np.array([[0] * 1000, [1] * 1000, [-1] * 1000], dtype=np.int8),
        "split": np.array(["train", "val", "test"]),
        "classes": ("intergenic", "exon", "intron"),
    }
    return segmentation.Sequences(**(made | changed))


def test_inputs_that_cannot_be_segmented():
    segmentation.check(_data(), "x")
    cases = [
        ({"split": np.array(["train", "train", "test"])}, "the split 'val' is empty"),
        (
            {"split": np.array(["train", "vall", "test"])},
            "unknown split 'vall'. Did you mean 'val'",
        ),
        ({"labels": np.full((3, 1000), 3, dtype=np.int8)}, "label 3 in the split 'train'"),
        ({"sequences": np.full((3, 1000), 5, dtype=np.uint8)}, "base code 5; expected A C G T N"),
    ]
    for changed, said in cases:
        with pytest.raises(ContractError, match=said):
            segmentation.check(_data(**changed), "x")
    shown = np.array([[0] * 1000, [1] * 1000, [2] * 1000], dtype=np.int8)
    with pytest.raises(ContractError, match="label 2 in the split 'test'; expected -1, hidden"):
        segmentation.check(_data(labels=shown), "x")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (np.zeros((1, 1000)), "returned a ndarray; expected a lacuna_contract.sequences.Segm"),
        (Segmentation(np.zeros((1, 999), int)), r"shape \(1, 999\); expected integers of shape"),
        (Segmentation(np.full((1, 1000), 3)), "classes from 3 to 3; expected 0..2"),
        (Segmentation(np.zeros((1, 1000), int), np.full((1, 1000), np.nan)), "boundaries from nan"),
        (Segmentation(np.zeros((1, 1000), int), np.full((1, 1000), 1.5)), "boundaries from 1.5"),
        (Segmentation(np.zeros((1, 1000), int), None, np.zeros((4, 3))), "each class normalised"),
        (Segmentation(np.zeros((1, 1000), int), None, np.zeros((4, 2))), r"expected floats \(K, 3"),
        (
            Segmentation(np.zeros((1, 1000), int), decodings={"segment": np.zeros((1, 4), int)}),
            "unknown decoding 'segment'. Did you mean 'segments'",
        ),
        (
            Segmentation(np.zeros((1, 1000), int), decodings={"boundaries": np.zeros((1, 2), int)}),
            "position from 0 to 0; expected 1..999",
        ),
    ],
)
def test_answers_that_are_none(answer, said):
    with pytest.raises(ContractError, match=said):
        segmentation.checked(answer, _data())


def test_encodings():
    codes = np.array([0, 1, 2, 3, 4, 0, 0, 0, 0, 0], dtype=np.uint8)
    assert one_hot(codes).shape == (10, 5)
    assert (one_hot(codes).argmax(axis=1) == codes).all()
    found = kmer_frequencies(codes, k=2, window=3)
    assert found.shape == (10, 16)
    for t in range(10):
        near = [i for i in range(t - 1, t + 2) if 0 <= i < 9 and codes[i : i + 2].max() < 4]
        expected = np.zeros(16)
        for i in near:
            expected[4 * codes[i] + codes[i + 1]] += 1 / len(near)
        assert found[t] == pytest.approx(expected)
    assert kmer_frequencies(codes).shape == (10, 256)
    with pytest.raises(ContractError, match="window=4; expected an odd number"):
        kmer_frequencies(codes, window=4)
