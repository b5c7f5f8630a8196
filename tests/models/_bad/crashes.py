raise ValueError("no basis for 3 genes")
