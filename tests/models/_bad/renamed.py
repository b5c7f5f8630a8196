from _shared import names, rates, write

cells, genes = names()
write(rates(cells, genes), cells, [name.lower().replace("_", "-") for name in genes])
