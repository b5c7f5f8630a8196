"""What a training is made of, and what is wrong with it."""

from dataclasses import dataclass

from encoders import ENCODERS
from features import WIDTHS

from lacuna_contract.errors import ContractError, suggest

HEADS = ("softmax", "linear", "semicrf", "semicrf_uniform")
BACKENDS = ("streaming", "reference")


@dataclass(frozen=True)
class Settings:
    """Everything that the weights depend on, but for the data and the number of threads.

    max_duration
        K: the longest segment of the semi-Markov heads, in positions.
    batch_size
        Sequences per step. They pass through the model a few at a time, so it costs no memory.
    lr
        The highest learning rate, reached after the warm-up; it falls to 0 along a cosine. Scores
        of durations, far from where they begin, learn `duration_lr` times as fast.
    patience
        Epochs without a better loss of the validation sequences, after which training ends.
    prior
        How much the complete training segments count for the duration scores by themselves, beside
        the likelihood of the classes given the bases; see `heads.SemiMarkov.prior`.
    triton
        False keeps the CRFs off the GPU.
    """

    head: str
    classes: int
    encoder: str = "cnn"
    features: str = "onehot"
    max_duration: int = 20_000
    hidden_dim: int = 32
    num_layers: int = 4
    batch_size: int = 1
    lr: float = 4e-3
    duration_lr: float = 10.0
    epochs: int = 2
    patience: int = 5
    clip: float = 1.0
    weight_decay: float = 0.01
    prior: float = 1.0
    backend: str = "streaming"
    triton: bool = True
    seed: int = 0

    def __post_init__(self):
        problems = []
        for field, known in (
            ("head", HEADS), ("encoder", ENCODERS), ("features", WIDTHS), ("backend", BACKENDS),
        ):  # fmt: skip
            if getattr(self, field) not in known:
                problems.append(suggest(getattr(self, field), known, field))
        for field in (
            "max_duration", "hidden_dim", "num_layers", "batch_size", "epochs", "patience",
        ):  # fmt: skip
            value = getattr(self, field)
            if type(value) is not int or value < 1:
                problems.append(f"{field}={value!r}; expected a whole number of 1 or more")
        for field in ("lr", "duration_lr", "clip"):
            if not getattr(self, field) > 0:
                problems.append(f"{field}={getattr(self, field)!r}; expected more than 0")
        if not self.prior >= 0:
            problems.append(f"prior={self.prior!r}; expected 0 or more")
        if self.encoder == "bilstm" and self.hidden_dim % 2:
            problems.append(f"hidden_dim={self.hidden_dim}; the encoder bilstm needs an even one")
        if problems:
            raise ContractError("; ".join(problems))
