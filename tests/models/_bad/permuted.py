import numpy as np
from _shared import names, rates, write

cells, genes = names()
rng = np.random.default_rng(0)
cells, genes = rng.permutation(cells).tolist(), rng.permutation(genes).tolist()
write(rates(cells, genes), cells, genes)
