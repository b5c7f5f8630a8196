"""Turn a benchmark's plan and records into tables, a report and a verdict.

The report reads plan.json and the records (status, metrics and metadata of each run) and nothing
else; it knows no task, no metric and no model by name.
"""

from .stage import build

__all__ = ["build"]
