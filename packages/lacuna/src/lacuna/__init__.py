"""Lacuna: hide a part of the data, let models fill the gap, and score what they return.

This package knows the truth: the tasks, the metrics, the report. What stages and models exchange
is in ``lacuna_contract``. Importing it loads nothing heavy, as ``lacuna.setup`` runs on a machine
on which nothing has been installed yet.
"""

__version__ = "0.1.0"
