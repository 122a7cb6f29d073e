"""How sites come into a run: a run waits for them until it may begin, and takes in later who comes later.

A site that says yes describes what it has for the job. Others are in a state that may pass (they wait for an
approval, are outside their hours, not connected), or have said no. Who has said yes is not asked again.
"""

import time
from collections.abc import Set
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from flwr.app import RecordDict

from server.rounds.description_check import check_description
from server.rounds.federation import Federation, Member, Wait, too_few, trains, work_of
from server.rounds.missing_sites import is_silent
from server.rounds.site_texts import told
from server.rounds.standing import Pause, Standing, standings_in
from server.runs.events import Event, Kind
from server.runs.folder import RunFolder
from server.runs.places import Places
from server.runs.waiting import NOT_CONNECTED, waiting_for
from shared.clock import utc_text
from shared.errors import RunError
from shared.flower import query_message
from shared.job.schema import JobSpec
from shared.wire import messages
from shared.wire.messages import Description, MessageError
from shared.wire.site_states import state_of

_DESCRIBE_S, _GRACE_S = 600.0, 60.0  # a site may have to read its masks to count voxels
_LATE_S = 10.0  # before a round: the others wait meanwhile
_REST = 20.0  # times what the last such look took: of quick rounds not each pays for one
_LARGEST_DESCRIPTION = 2**18  # bytes
_SOONEST_LOOK, _LATEST_LOOK, _LONGER = 1.0, 15.0, 1.5  # seconds between looks while a run waits
_CONNECTED_LOOK = 3.0  # seconds between looks at who is connected, and at whether the run was stopped
_FRESH_S = 6 * 3600.0  # a description that is older is asked for anew before a run begins
_NO_ANSWER = "no answer"
_SITE_LEVEL = (
    "comes after the run has begun, and the guarantee of 'site-level' is for the sites that were there then"
)
_NO_JUDGE = "comes after the run has begun, and has no patients to train on"


class Joining:
    """Asks the sites of a run's project what they have for its job, and makes members of those that may.

    Args:
        federation: Gets the members.
        run: Its folder says for whom it waits.
        places: Of the coordinator's runs: one that has waited needs one; None lets everybody go on.
    """

    def __init__(self, federation: Federation, run: RunFolder, places: Places | None = None) -> None:
        self._federation = federation
        self._job: JobSpec = federation.job
        self._run = run
        self._places = places
        about = run.read_description()
        # Of a run that goes on, those that were there when it began, and when each of the others joined.
        self._at_start: set[str] | None = None
        self._joined: dict[str, int] = dict(about.get("joined", {}))
        if "sites" in about:
            self._at_start = {*about["sites"], *about.get("left_out", {})} - self._joined.keys()
        # A round that is repeated under secure aggregation may have been unmasked over the sites that knew
        # it, and those refuse to sum it over others.
        is_repeated = self._job.privacy.secure_aggregation and "sites" in about
        self._only: set[str] | None = set(about["sites"]) if is_repeated else None
        self._described: dict[str, Member] = {}
        self._standings: dict[str, Standing] = standings_in(about)
        self._told: dict[str, Standing] = dict(self._standings)  # the last that each site itself has said
        self._pauses: dict[str, Pause] = {}
        self._here: set[str] = set()  # names of the sites that are connected
        self._next_late = 0.0  # monotonic time of the next look between rounds
        self._oldest = 0.0  # monotonic time of the oldest description
        self._said: set[tuple[str, str]] = set()

    def gather(self, round_: int) -> None:
        """Ask the sites until the run may begin, and choose who takes part.

        It may once `min_sites` can train and every site that is connected has said yes or no, or once the
        job's `wait` is over. A strict federation is asked once: all of its sites are at hand.

        Args:
            round_: The next one.

        Raises:
            RunError: Fewer sites than the job's `min_sites` can take part, and none of the others may come.
            BackInQueueError: It goes on in another process: to wait there, or to begin once there is a place.
        """
        if self._federation.strict:
            self._look(_DESCRIBE_S, _GRACE_S)
            self._take_in(round_)
        else:
            self._wait(round_)
        if self._trainers < self._job.strategy.min_sites:
            self._run.describe(waiting=None)
            raise self._too_few()
        if not self._federation.strict:
            self._go_to_work()
        if self._at_start is None:
            self._at_start = set(self._described)
        self._only = None

    def take_in_late(self, round_: int) -> bool:
        """Ask those that are no members again, before a round; say whether some are from now on.

        Args:
            round_: In which they take part.
        """
        start = time.monotonic()
        if start < self._next_late:
            return False
        self._look(_LATE_S, _LATE_S)
        end = time.monotonic()
        self._next_late = end + _REST * (end - start)
        return self._take_in(round_)

    def describe(self) -> None:
        """Say in `run.json` who takes part, with those that did before the run was resumed."""
        federation = self._federation
        sites = self._run.read_description().get("sites", {}) | {
            member.name: {
                "patients": dict(member.description.patients),
                "examples": dict(member.description.examples),
            }
            for member in federation.members
        }
        self._run.describe(
            sites=dict(sorted(sites.items())),
            only_judging=federation.only_judging,
            left_out=federation.left_out,
            figures=federation.figures_for,
            **({"joined": self._joined} if self._joined else {}),
        )

    def _wait(self, round_: int) -> None:
        before = self._run.read_description().get("waiting") or {}  # of a process that was killed
        since = str(before.get("since") or utc_text("milliseconds"))
        options = self._job.strategy
        end = datetime.fromisoformat(since) + timedelta(seconds=options.wait or options.round_timeout)
        pause, said = _SOONEST_LOOK, ""
        while True:
            left = (end - datetime.now(UTC)).total_seconds()
            self._look(min(_DESCRIBE_S, max(left, _LATE_S)), _GRACE_S)
            self._take_in(round_)
            if self._may_begin and time.monotonic() - self._oldest > _FRESH_S:
                self._forget()
                continue
            if self._may_begin or left <= 0 or not any(one.is_open for one in self._standings.values()):
                break
            waiting = self._waiting(since, end)
            if (text := waiting_for(waiting)) != said:
                said, pause = text, _SOONEST_LOOK
                self._run.describe(waiting=waiting)
                if self._places is not None:
                    self._places.begin_to_wait()
                self._run.describe(status="waiting")
                self._federation.listen(Event("run_waiting", data={"for": text, "until": waiting["until"]}))
            self._rest(min(pause, max(left, 0)))
            pause = min(_LONGER * pause, _LATEST_LOOK)

    def _go_to_work(self) -> None:
        if self._places is None or self._run.status == "running":  # which has its place, as it did not wait
            self._run.describe(status="running", waiting=None)
        else:
            self._places.go_to_work(self._run)

    def _rest(self, seconds: float) -> None:
        """Do nothing for a while, unless another site connects; whoever stops the run is heard at once."""
        grid, end = self._federation.grid, time.monotonic() + seconds
        connected = set(grid.get_node_ids())
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _CONNECTED_LOOK))
            if set(grid.get_node_ids()) - connected:
                return

    def _forget(self) -> None:
        """Have everybody asked once more: after a long wait a site has other patients, or another mind."""
        federation = self._federation
        self._described.clear()
        federation.members = []
        federation.only_judging.clear()
        federation.left_out.clear()

    @property
    def _trainers(self) -> int:
        """How many sites can train that are there now."""
        return sum(member.name in self._here for member in self._federation.trainers)

    @property
    def _may_begin(self) -> bool:
        """Say whether a run need not wait; one that goes on does not, as undecided sites may join later."""
        waits = self._at_start is None and self._job.strategy.wait
        held = waits and any(one.holds for one in self._standings.values())
        return self._trainers >= self._job.strategy.min_sites and not held

    def _waiting(self, since: str, end: datetime) -> dict[str, Any]:
        """Return what `run.json` says of the wait."""
        sites = {
            name: {"state": one.words, "since": one.since}
            for name, one in sorted(self._standings.items())
            if one.is_open
        }
        return {"since": since, "until": end.isoformat(timespec="seconds"), "sites": sites}

    def _too_few(self) -> RunError:
        federation = self._federation
        reasons = {name: one.words for name, one in self._standings.items()}
        reasons |= {**federation.left_out, **federation.only_judging}
        return RunError(
            f"{self._trainers} sites can {self._job.verb}, the job needs "
            f"{self._job.strategy.min_sites}"
            + "".join(f"; {name}: {reason}" for name, reason in sorted(reasons.items())),
            where="[strategy] min_sites",
            remedy=None if federation.strict else "Once the sites are there, resume the run.",
        )

    def _look(self, timeout: float, grace: float) -> None:
        """See who is connected, and ask those that have not said yes.

        Args:
            timeout: Seconds for all answers.
            grace: Seconds for the others once a quorum has answered.
        """
        connected = self._connected()
        self._note_absent(connected.keys())
        asked: dict[int, str] = {}
        for name, nodes in sorted(connected.items()):
            known = self._described.get(name)
            if len(nodes) > 1:
                if known is None:  # nobody here can tell which of them has the site's data
                    self._stands(name, f"{len(nodes)} nodes of this site are connected", is_open=True)
                    self._say("site_failed", name, self._standings[name].words)
            elif known is not None:  # the number may be new, the name in the certificate is not
                self._described[name] = replace(known, node_id=nodes[0])
                self._standings.pop(name, None)
            elif not self._may_be_asked(name):
                self._stands(name, _SITE_LEVEL, is_open=False)
                self._say("site_left_out", name, _SITE_LEVEL)
            elif name not in self._pauses or time.monotonic() >= self._pauses[name].end:
                asked[nodes[0]] = name
        self._here = set(connected)
        members = self._federation.members
        self._federation.members = [self._described[member.name] for member in members]
        if asked:
            self._ask(asked, Wait(0, "describe", timeout, None, grace, _LARGEST_DESCRIPTION))

    def _connected(self) -> dict[str, list[int]]:
        """Return the nodes of each site that is connected; a node of no site that has joined is nobody."""
        grid, connected = self._federation.grid, dict[str, list[int]]()
        nodes, names = set(grid.get_node_ids()), grid.site_names()
        for node in sorted(nodes & names.keys()):
            connected.setdefault(names[node], []).append(node)
        return connected

    def _note_absent(self, connected: Set[str]) -> None:
        """Take note of the project's sites that are not connected, and forget those that have left it."""
        sites = self._federation.grid.all_sites()
        for name in self._standings.keys() - connected - sites:
            del self._standings[name]
        for name in sites - connected:
            self._pauses.pop(name, None)
            self._stands(name, NOT_CONNECTED, is_open=True)

    def _may_be_asked(self, name: str) -> bool:
        """Say whether a site may still come: the guarantee for whole sites is for those of the beginning."""
        is_site_level = self._job.privacy.mechanism == "site-level"
        return not is_site_level or self._at_start is None or name in self._at_start

    def _ask(self, sites: dict[int, str], wait: Wait) -> None:
        federation = self._federation
        question = federation.question(self._run.path.name)
        heard: set[str] = set()

        def check(node: int, content: RecordDict) -> Description:
            description = messages.read_description(content)
            if description.site != sites[node]:
                raise MessageError(f"says that it is the site '{description.site}'")
            check_description(description)
            return description

        def failed(site: str, reason: str, code: int) -> None:
            heard.add(site)
            self._refused(site, reason, code)

        asked = [query_message(messages.DESCRIBE, question, node) for node in sites]
        if not self._described:
            self._oldest = time.monotonic()
        for node, _, description in federation.answers(asked, sites, wait, check, failed):
            name = sites[node]
            heard.add(name)
            self._described[name] = Member(node, name, description)
            self._standings.pop(name, None)
            self._told.pop(name, None)
            self._pauses.pop(name, None)
            federation.figures_for[name] = description.figures_for
        for name in set(sites.values()) - heard:  # late, and said so
            self._stands(name, _NO_ANSWER, is_open=True)
            self._pauses.setdefault(name, Pause()).begin()

    def _refused(self, site: str, reason: str, code: int) -> None:
        """Take note of what a site says in place of a description."""
        state = state_of(code)
        if state is None or self._federation.strict:
            self._say("site_failed", site, reason)
            silent = is_silent(code)
            self._stands(site, _NO_ANSWER if silent else told(reason), is_open=silent)
        else:
            self._stands(site, state.words, is_open=state.passes, holds=state.passes)
            if not state.passes:
                self._say("site_left_out", site, state.words)
        if state is None or not state.passes:
            self._pauses.setdefault(site, Pause()).begin()

    def _stands(self, site: str, words: str, *, is_open: bool, holds: bool = False) -> None:
        known = (self._standings.get(site), self._told.get(site))
        since = next((one.since for one in known if one is not None and one.words == words), utc_text())
        self._standings[site] = standing = Standing(words, since, is_open, holds)
        if words not in (NOT_CONNECTED, _NO_ANSWER):  # a site that was silent for a moment has not changed
            self._told[site] = standing

    def _say(self, kind: Kind, site: str, reason: str) -> None:
        """Tell something of a site once.

        Raises:
            RunError: It failed, and the federation is strict.
        """
        if (site, reason) in self._said:
            return
        self._said.add((site, reason))
        if kind == "site_failed":
            self._federation.fail(site, 0, "describe", reason)
        else:
            self._federation.listen(Event(kind, site=site, data={"reason": reason}))

    def _take_in(self, round_: int) -> bool:
        """Make members of the sites that have said yes; say whether there are new ones."""
        federation = self._federation
        members = {member.name for member in federation.members}
        decided = members | federation.left_out.keys()
        for name, member in sorted(self._described.items()):
            is_late = self._at_start is not None and name not in self._at_start
            if name in decided or (self._only is not None and name not in self._only):
                continue
            if self._admits(member, round_ if is_late else 0):
                federation.members.append(member)
                if is_late:
                    federation.late.add(name)
                    self._joined.setdefault(name, round_)
        federation.members.sort(key=lambda member: member.name)
        return len(federation.members) > len(members)

    def _admits(self, member: Member, late_in: int) -> bool:
        """Say whether a site takes part: it trains, or it judges what others have trained."""
        federation, patients = self._federation, member.description.patients
        if trains(self._job, patients):
            data = {"patients": patients[work_of(self._job)]}
            federation.listen(Event("site_joined", late_in, member.name, data=data))
            return True
        reason = too_few(self._job, patients)
        judges = bool(patients["val"] or patients["test"]) and self._job.trains
        if late_in and judges:
            reason, judges = _NO_JUDGE, False
        (federation.only_judging if judges else federation.left_out)[member.name] = reason
        kind: Kind = "site_only_judges" if judges else "site_left_out"
        federation.listen(Event(kind, site=member.name, data={"reason": reason}))
        return judges
