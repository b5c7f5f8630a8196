"""From parameters and manifests to the list of everything that is going to happen."""

from lacuna.plan.benchmark import make_plan, plan_data
from lacuna.plan.models import choose_variants, wrong
from lacuna.plan.runs import plan_runs

__all__ = ["choose_variants", "make_plan", "plan_data", "plan_runs", "wrong"]
