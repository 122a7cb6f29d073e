"""What is kept as long as few others are asked for."""

from shared.recent import Recent


def test_what_was_asked_for_longest_ago_goes_first() -> None:
    kept: Recent[str, int] = Recent(2)
    kept["a"], kept["b"] = 1, 2
    assert kept["a"] == 1  # and is newer than b now
    kept["c"] = 3
    assert "b" not in kept
    assert (kept["a"], kept["c"]) == (1, 3)


def test_what_is_kept_again_takes_no_further_place() -> None:
    kept: Recent[str, int] = Recent(2)
    kept["a"], kept["b"] = 1, 2
    kept["a"] = 3
    assert (kept["a"], kept["b"]) == (3, 2)
