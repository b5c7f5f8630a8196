from _shared import names, rates, write

cells, genes = names()
write(rates(cells, genes[:-2]), cells, genes[:-2])
