"""What a run asks of its mailbox while its process is being ended."""

from types import SimpleNamespace

import httpx
import pytest

from shared.flower.mailbox import Mailbox


def test_giving_answers_up_does_not_hide_that_the_process_ends():
    with httpx.Client() as closed:
        pass

    def pull_messages(_):  # as Flower's client does once its process was told to end
        return closed.get("http://127.0.0.1:1")

    client = SimpleNamespace(PullMessages=pull_messages)
    grid = SimpleNamespace(_runtime_client=client, run=SimpleNamespace(run_id=1))

    def told_to_end():
        try:
            raise SystemExit
        finally:
            Mailbox(grid).forget(["message"])

    with pytest.raises(SystemExit):
        told_to_end()
