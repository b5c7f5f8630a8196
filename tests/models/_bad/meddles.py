from _shared import args, names, rates, write

cells, genes = names()
write(rates(cells, genes), cells, genes)
with open(args.input, "ab") as file:
    file.write(b"!")
