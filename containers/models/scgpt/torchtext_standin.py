"""The few classes of torchtext that scGPT imports, for a PyTorch that no torchtext was built for.

Imported before scGPT. A vocabulary is a list of tokens; what is not in it has the default index.
"""

import sys
import types
import warnings


class Tokens:
    """An ordered vocabulary."""

    def __init__(self, tokens=()):
        self.list, self.index, self.default = [], {}, None
        for token in tokens:
            self.insert(token, len(self.list))

    def insert(self, token, index):
        if token in self.index or not 0 <= index <= len(self.list):
            raise RuntimeError(f"'{token}' cannot be token {index} of {len(self.list)}")
        self.list.insert(index, token)
        moved = self.list[index:] if index < len(self.list) - 1 else [token]
        self.index.update((name, index + i) for i, name in enumerate(moved))


class Vocab:
    """What torchtext.vocab.Vocab does for scGPT."""

    def __init__(self, vocab):
        self.vocab = vocab

    def __len__(self):
        return len(self.vocab.list)

    def __contains__(self, token):
        return token in self.vocab.index

    def __getitem__(self, token):
        if token not in self and self.vocab.default is None:
            raise RuntimeError(f"token '{token}' is not in the vocabulary, which has no default")
        return self.vocab.index.get(token, self.vocab.default)

    def __call__(self, tokens):
        return [self[token] for token in tokens]

    def insert_token(self, token, index):
        self.vocab.insert(token, index)

    def append_token(self, token):
        self.vocab.insert(token, len(self))

    def set_default_index(self, index):
        self.vocab.default = index

    def get_stoi(self):
        return dict(self.vocab.index)

    def get_itos(self):
        return list(self.vocab.list)


def vocab(ordered_dict, min_freq=1):
    """A vocabulary of the keys whose value, a count, is at least `min_freq`."""
    return Vocab(Tokens(token for token, count in ordered_dict.items() if count >= min_freq))


package = types.ModuleType("torchtext")
package.vocab = types.ModuleType("torchtext.vocab")
package.vocab.Vocab, package.vocab.vocab = Vocab, vocab
sys.modules.update({"torchtext": package, "torchtext.vocab": package.vocab})
# Which is said twice when scGPT is imported.
warnings.filterwarnings("ignore", message="flash_attn is not installed")
