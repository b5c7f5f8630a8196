import pytest

from lacuna.report.numerals import size
from lacuna.supervised import number


@pytest.mark.parametrize(("limit", "shown"), [("2 GB", "2.00 GB"), ("512 MB", "512 MB")])
def test_memory_is_shown_in_the_unit_of_its_limit(limit, shown):
    assert size(number(limit)) == shown
