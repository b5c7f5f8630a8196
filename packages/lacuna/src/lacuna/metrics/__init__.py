"""Metrics, in a registry: every module of this folder is searched for them."""

from lacuna.metrics.registry import Metric, Undefined, choose, get, metric, of_task

__all__ = ["Metric", "Undefined", "choose", "get", "metric", "of_task"]
