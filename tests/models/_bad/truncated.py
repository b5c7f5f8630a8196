import os

from _shared import args, names, rates, write

cells, genes = names()
write(rates(cells, genes), cells, genes)
os.truncate(args.output, os.path.getsize(args.output) // 2)
