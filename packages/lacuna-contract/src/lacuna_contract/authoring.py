"""What a model's code says about itself: the decorator `model`, and the `Chunk` it may see.

Apart from the harness that runs it, because ``main.py`` imports this while the harness is running.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from scipy import sparse

from lacuna_contract.errors import ContractError, suggest
from lacuna_contract.values import SPACES


@dataclass(frozen=True)
class Chunk:
    """Some cells of an input.

    counts
        CSR float32 (cells, genes): the visible counts. A hidden entry is not stored.
    hidden
        CSR bool (cells, genes): True at the entries to predict.
    cells
        Numbers of these cells in the input.
    """

    counts: sparse.csr_matrix
    hidden: sparse.csr_matrix
    cells: range


@dataclass(frozen=True)
class Model:
    """A function, or a class with `fit` and `predict`, and what it declared."""

    implementation: Callable[..., Any]
    task: str
    value_space: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.implementation(*args, **kwargs)

    @property
    def parameters(self) -> dict[str, inspect.Parameter]:
        """The keyword-only parameters: those of the variant, and those the harness fills."""
        found = inspect.signature(self.implementation).parameters
        return {k: p for k, p in found.items() if p.kind is p.KEYWORD_ONLY}


def model(task: str, *, value_space: str = "counts") -> Callable[[Callable[..., Any]], Model]:
    """Declare the model of a folder.

    Whole, as a function of two matrices and keyword parameters::

        @model("reconstruction", value_space="counts")
        def predict(counts, hidden, *, rank=20, seed=0): ...

    `counts` is CSR float32 (cells, genes) in which hidden entries are not stored, `hidden` a CSR
    bool matrix that is True at them. The function returns a dense array (cells, genes), or the
    values of the hidden entries alone, a vector in the order of `hidden`'s CSR entries. A pandas
    DataFrame, with the names of cells and genes, may be in another order.

    Where `kind` is "thinned", `counts` are a binomial part of the counts and nothing is hidden: the
    model returns a dense array, the expected counts of every entry at the depth of what it got. A
    model without a parameter `kind` is not run on these (`not_applicable`).

    An input that does not fit into the memory that the run may use (LACUNA_MEMORY_BYTES, which the
    supervisor sets) is not read: the run is out of memory. `need_memory` is for what more a method
    takes.

    In pieces, as a class: ``__init__`` takes the keyword parameters, ``fit(chunks)`` sees every
    `Chunk` (the iterable can be gone through more than once), ``predict(chunk)`` returns as above.

    A parameter named seed, genes, symbols, cells, organism, device, threads, kind or checkpoint is
    filled by the harness; `truth` too, for a ceiling. Every other one comes from the variant in
    model.json.

    A main.py may declare a model for each of several tasks. The task "multimodal" has one form::

        @model("multimodal")
        def predict(data, *, latent=16, seed=0): ...

    `data` is a `lacuna_contract.tasks.multimodal.Mosaic`. The function returns an embedding (cells,
    dimensions), and by modality what `data.asked` asks for, (asked cells, asked features): expected
    counts of RNA, probabilities of open peaks, log1p of ADT intensities; and details, if any.
    """
    if value_space not in SPACES:
        raise ContractError(suggest(value_space, SPACES, "value space"))

    def declare(implementation: Callable[..., Any]) -> Model:
        return Model(implementation, task, value_space)

    return declare
