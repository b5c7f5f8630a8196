# Ridge regression on principal components, in R: a model that shares no code with Lacuna.
#
# Counts minus what a cell's depth and a gene's rate explain are regressed on the leading principal
# components of the cells; the penalty is the one that predicts held-out visible entries best.
suppressPackageStartupMessages({library(rhdf5); library(jsonlite)})

words <- commandArgs(trailingOnly = TRUE)
args <- setNames(as.list(words[c(FALSE, TRUE)]), sub("^--", "", words[c(TRUE, FALSE)]))
params <- fromJSON(args$params)
set.seed(params$seed)

read <- function(name) as.vector(h5read(args$input, name, bit64conversion = "double"))
index <- function(axis) {
  name <- h5readAttributes(args$input, axis)[["_index"]]
  read(paste0(axis, "/", name))
}
cells <- index("obs")
genes <- index("var")
value <- read("X/data")
row <- rep(seq_along(cells), diff(read("X/indptr")))
column <- read("X/indices") + 1 # h5ad counts from 0

counts <- matrix(0, length(cells), length(genes))
counts[cbind(row, column)] <- value
hidden <- counts == -1
counts[hidden] <- 0

# Expected counts of alike cells: depth of the cell times rate of the gene, from visible entries.
expected <- function(counts, seen) {
  depth <- rep(1, nrow(counts))
  for (pass in 1:3) {
    rate <- (colSums(counts) + 1e-3) / (colSums(seen * depth) + 1)
    depth <- (rowSums(counts) + 1) / (drop(seen %*% rate) + 1)
  }
  outer(depth, rate)
}

# Residuals on their principal components, each shrunk as ridge regression with `penalty` does.
fits <- function(counts, seen, penalties, components = 20) {
  usual <- expected(counts, seen)
  scale <- sqrt(pmax(usual, 0.02))
  components <- min(components, dim(counts))
  parts <- svd(ifelse(seen, (counts - usual) / scale, 0), components, components)
  d <- parts$d[seq_len(components)]
  lapply(penalties, function(penalty) {
    kept <- parts$u %*% (d^3 / (d^2 + penalty) * t(parts$v))
    pmax(usual + scale * kept, 0.02 * usual)
  })
}

seen <- !hidden
held <- seen & matrix(runif(length(seen)) < 0.05, nrow(seen))
penalties <- length(genes) * c(0.1, 0.3, 1, 3, 10, 30)
guesses <- fits(ifelse(held, 0, counts), seen & !held, penalties)
loss <- sapply(guesses, function(guess) mean(guess[held] - counts[held] * log(guess[held])))
penalty <- penalties[which.min(loss)]
prediction <- fits(counts, seen, penalty)[[1]]

text <- function(value, object, name) {
  h5writeAttribute(value, object, name, asScalar = TRUE, variableLengthString = TRUE, encoding = "UTF-8")
}
encoded <- function(file, path, type, version) {
  object <- H5Oopen(file, path)
  text(type, object, "encoding-type")
  text(version, object, "encoding-version")
  H5Oclose(object)
}
# A vector is a dataset with one dimension; a single string, in h5ad, is one with none.
strings <- function(file, path, values, type) {
  kind <- H5Tcopy("H5T_C_S1")
  H5Tset_size(kind, NULL)
  H5Tset_cset(kind, "UTF8")
  space <- if (type == "string") H5Screate("H5S_SCALAR") else H5Screate_simple(length(values))
  data <- H5Dcreate(file, path, kind, space)
  H5Dwrite(data, values)
  H5Dclose(data)
  H5Sclose(space)
  encoded(file, path, type, "0.2.0")
}

invisible(h5createFile(args$output))
file <- H5Fopen(args$output)
text("anndata", file, "encoding-type")
text("0.1.0", file, "encoding-version")
# R's arrays are column by column: what is (genes, cells) here is (cells, genes) in the file.
invisible(h5createDataset(file, "X", rev(dim(prediction)), H5type = "H5T_IEEE_F32LE",
                          chunk = NULL, level = 0))
h5write(t(prediction), file, "X")
encoded(file, "X", "array", "0.2.0")
for (axis in c("obs", "var")) {
  invisible(h5createGroup(file, axis))
  encoded(file, axis, "dataframe", "0.2.0")
  group <- H5Gopen(file, axis)
  text("_index", group, "_index")
  h5writeAttribute(numeric(0), group, "column-order")
  H5Gclose(group)
  names <- if (axis == "obs") cells else genes
  strings(file, paste0(axis, "/_index"), names, "string-array")
}
for (group in c("uns", "uns/lacuna")) {
  invisible(h5createGroup(file, group))
  encoded(file, group, "dict", "0.1.0")
}
strings(file, "uns/lacuna/entries", "all", "string")
strings(file, "uns/lacuna/value_space", "counts", "string")
H5Fclose(file)

versions <- list(R = as.character(getRversion()), rhdf5 = as.character(packageVersion("rhdf5")))
details <- list(penalty = penalty, held_out = loss)
write_json(list(versions = versions, details = details), args$metadata, auto_unbox = TRUE)
