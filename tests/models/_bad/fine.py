from _shared import names, rates, write

cells, genes = names()
write(rates(cells, genes), cells, genes)
