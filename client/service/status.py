"""Whether a site's service runs, and what it does: asked of the service itself and of what it wrote."""

from pathlib import Path

from client.service.health import Answer, ask, socket_of
from client.service.state import told
from shared.web.moments import utc


def service_state(folder: Path) -> tuple[Answer, str]:
    """Return whether the service of a site's folder takes part in its federation, and what it does, in words.

    A service that was killed can't say so; then its health socket does not answer.
    """
    state = folder / "state"
    last = told(state)
    if not last:
        return "no answer", "the service has never run here"
    since = utc(last["since"])
    answer = ask(socket_of(state))
    if answer == "no answer" and last["status"] != "stopped":
        was = f"process {last['pid']} ended without a word, {last['status']} since {since}"
        return answer, f"the service does not run; {was}"
    detail = f" ({last['detail']})" if last["detail"] else ""
    return answer, f"{last['status']}{detail} since {since}, process {last['pid']}"
