"""The subcommands of ``synthetic-benchmark``: a module each, see `lacuna.cli.synthetic`."""
