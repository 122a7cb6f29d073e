"""The SuperLink's process hears of a run when it is submitted, and need not ask for one all the time."""

import asyncio

import httpx
import pytest
from flwr.supercore.control import ControlHttpClient
from starlette.responses import PlainTextResponse

from shared.flower.program import _Bell


@pytest.mark.parametrize(("method", "rings"), [("StartRun", True), ("ListNodes", False)])
def test_a_submission_alone_rings(method, rings):
    asked = []
    client = ControlHttpClient("http://superlink", verify=False)
    client._unary_unary = lambda **call: asked.append(call["path"])  # where Flower's client would go
    getattr(client, method)(None)
    bell = _Bell(PlainTextResponse("answered"))

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(bell), base_url="http://a") as http:
            assert (await http.post(asked[0])).text == "answered"

    asyncio.run(ask())
    assert bell.rung.is_set() is rings
