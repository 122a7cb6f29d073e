"""Coordinator and site say what they speak, and part where they have nothing in common."""

import pytest

from shared.wire.protocol import Speaks


@pytest.mark.parametrize("said", [Speaks("0.2.0", 1, 1), Speaks("1.0.0rc1", 2, 13)])
def test_what_is_said_is_heard(said: Speaks) -> None:
    assert Speaks.heard(str(said)) == said
    assert Speaks.heard(str(Speaks.own())) == Speaks.own()


def test_who_names_no_protocol_speaks_the_first() -> None:
    assert Speaks.heard("wardround/0.1.0") == Speaks("0.1.0", 1, 1)
    for unread in ("curl/8.0", "", "wardround/9.0.0 protocol/7-x"):
        assert Speaks.heard(unread) == Speaks("", 1, 1)
        assert not Speaks.heard(unread).understands(Speaks("9.0.0", 2, 3))


@pytest.mark.parametrize(
    ("site", "coordinator", "understood"),
    [((1, 1), (1, 1), True), ((1, 2), (2, 3), True), ((1, 1), (2, 3), False), ((4, 4), (2, 3), False)],
)
def test_one_in_common_is_enough(site, coordinator, understood: bool) -> None:
    assert Speaks("a", *site).understands(Speaks("b", *coordinator)) is understood
    assert Speaks("b", *coordinator).understands(Speaks("a", *site)) is understood
