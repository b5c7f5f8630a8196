import pytest

from lacuna.tasks.reconstruction.conditions import conditions
from lacuna_contract.errors import ContractError


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["mask_15_seed_42"]),
        ({"mask_percentages": 0.125, "seeds": 0}, ["mask_12.5_seed_0"]),
        ({"mask_percentages": "0.15"}, ["mask_15_seed_42"]),
        ({"mask_percentages": "0.10"}, ["mask_10_seed_42"]),
        ({"mask_percentages": 1e-05}, ["mask_0.001_seed_42"]),
        ({"mask_percentages": ".3", "mask_strategy": "per_gene"}, ["mask_30_per_gene_seed_42"]),
        (
            {"mask_percentages": "0.1,.2", "mask_strategy": "uniform, count_thinning"},
            [
                "mask_10_seed_42",
                "mask_20_seed_42",
                "mask_10_count_thinning_seed_42",
                "mask_20_count_thinning_seed_42",
            ],
        ),
        (
            {"mask_percentages": "0.15, 0.3", "seeds": "0,1"},
            ["mask_15_seed_0", "mask_15_seed_1", "mask_30_seed_0", "mask_30_seed_1"],
        ),
        ({"seeds": [1, 2]}, ["mask_15_seed_1", "mask_15_seed_2"]),
    ],
)
def test_names(given, names):
    assert [condition.name for condition in conditions(given)] == names


def test_arguments():
    (condition,) = conditions({"mask_percentages": "0.15", "seeds": "7"})
    assert condition.seed == 7
    assert condition.arguments == {"percentage": 0.15, "strategy": "uniform"}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0, "mask percentage '0': expected a fraction greater than 0 and less than 1"),
        (1, "mask percentage '1': expected a fraction greater than 0 and less than 1"),
        (15, "mask percentage '15': .* for 15 % write 0.15"),
        (12.5, "for 12.5 % write 0.125"),
        ("a", "mask percentage 'a': expected a fraction"),
        ("-0.1", "mask percentage '-0.1'"),
        ("NaN", "mask percentage 'NaN'"),
        ("inf", "mask percentage 'inf'"),
        ("0.15,0.150", "mask percentage 0.150 is given twice"),
        ("", "no mask percentage is given"),
    ],
)
def test_bad_percentages(value, message):
    with pytest.raises(ContractError, match=message):
        conditions({"mask_percentages": value})


@pytest.mark.parametrize("value", ["a", "-1", "1.5", 2**31, "1e3", "²"])
def test_bad_seeds(value):
    with pytest.raises(ContractError, match="expected a whole number from 0 to"):
        conditions({"seeds": value})


def test_all_problems_at_once():
    with pytest.raises(ContractError) as caught:
        conditions({"mask_percentages": "15,a", "seeds": "x", "mask_strategy": "uniforn"})
    text = str(caught.value)
    assert all(part in text for part in ("'15'", "'a'", "seed 'x'", "Did you mean 'uniform'?"))
