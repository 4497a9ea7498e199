import pytest

from workbench.pipeline.quality.shares import Share


@pytest.mark.parametrize(
    ("k", "n", "interval"), [(81, 263, (0.2553, 0.3662)), (0, 20, (0.0, 0.1611)), (29, 29, (0.8830, 1.0))]
)
def test_a_share_has_the_published_interval(k, n, interval):
    """Newcombe 1998, table I, method 3: score, no continuity correction."""
    share = Share(k, n)

    assert share.value == k / n
    assert (share.low, share.high) == pytest.approx(interval, abs=5e-5)


def test_nothing_counted_gives_no_share_and_no_interval():
    assert (Share(0, 0).value, Share(0, 0).low, Share(0, 0).high) == (None, None, None)
