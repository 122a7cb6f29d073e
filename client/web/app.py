"""The routes of the hospital's page: each shows what a folder holds; two write down a decision."""

import asyncio
import re
from collections.abc import AsyncIterator
from http import HTTPStatus
from pathlib import Path

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from client.guard.job_book import Decision
from client.settings.policy_words import policy_lines
from client.settings.site import load_site
from client.web.budgets import budgets, spent_by_jobs
from client.web.door import Door, Endpoint, View
from client.web.entry import OneTimeLink, OwnHost
from client.web.jobs import all_jobs, decide_seen, job_view, table_of_jobs
from client.web.log import Choice, LogCheck, newest, table_of_lines
from client.web.looks import Looks
from client.web.sent import sent_runs, table_of_runs
from client.web.standing import standing
from shared.audit.fields import EVENTS
from shared.errors import WardroundError
from shared.text.phrase import phrase
from shared.web.headers import SecureHeaders
from shared.web.live import event, live_answer
from shared.web.pages import Link, Pages
from shared.web.sessions import Session

MENU = (
    Link("/", "Overview"),
    Link("/jobs", "Jobs"),
    Link("/data", "Data"),
    Link("/budgets", "Budgets"),
    Link("/sent", "Sent"),
    Link("/log", "Log"),
    Link("/policy", "Policy"),
)
LONGEST_REASON = 300
_LOOK_S = 0.5  # between looks at how far the reading of a dataset is
_DIGEST = re.compile(r"[0-9a-f]{64}")
_RECENT = 6


def hospital_app(folder: Path, link: OneTimeLink, cookie: str) -> Starlette:
    """Return the page of a site's folder.

    Args:
        folder: The site's.
        link: Opens it, once.
        cookie: Name of the log-in's cookie.

    Raises:
        SiteError: `site.toml` can't be used.
    """
    return HospitalPage(folder, link, cookie).app()


class HospitalPage:
    """The page of one site; see `hospital_app`."""

    def __init__(self, folder: Path, link: OneTimeLink, cookie: str) -> None:
        self._folder = folder
        place = f"hospital {load_site(folder / 'site.toml').name}"
        self._pages = Pages("client.web", place, MENU, leave="/leave")
        self._door = Door(self._pages, link, cookie)
        self._looks = Looks(folder)
        self._log_check = LogCheck(folder)

    def app(self) -> Starlette:
        """Return the routes, with what guards them."""
        shown: dict[str, View] = {
            "/": self._overview,
            "/jobs": self._jobs,
            "/jobs/{digest}": self._job,
            "/data": self._data,
            "/data/{name}": self._dataset,
            "/data/{name}/contact-sheet.png": self._contact_sheet,
            "/data/{name}/live": self._live,
            "/budgets": self._budgets,
            "/sent": self._sent,
            "/log": self._log,
            "/policy": self._policy,
        }
        done = {
            "/jobs/{digest}/approve": self._decided("approved"),
            "/jobs/{digest}/deny": self._decided("denied"),
            "/data/{name}/look": self._look,
            "/log/check": self._check_log,
            "/leave": self._door.leave,
        }
        routes = [Route(path, self._door.shown(view), methods=["GET"]) for path, view in shown.items()]
        routes += [Route(path, do, methods=["POST"]) for path, do in done.items()]
        routes += [Route("/enter/{token}", self._door.enter, methods=["GET"]), *self._pages.file_routes()]
        return Starlette(
            routes=routes,
            middleware=[Middleware(SecureHeaders), Middleware(OwnHost)],
            exception_handlers={HTTPException: self._door.refused, WardroundError: self._door.failed},
        )

    # What is shown

    def _overview(self, request: Request, session: Session[str]) -> Response:
        recent, _ = newest(self._folder, Choice(), _RECENT)
        return self._door.answer(
            "overview.html.j2",
            request,
            session,
            site=standing(self._folder),
            policy=load_site(self._folder / "site.toml").policy,
            phrase=phrase,
            recent=recent,
        )

    def _jobs(self, request: Request, session: Session[str]) -> Response:
        jobs = all_jobs(self._folder)
        policy = load_site(self._folder / "site.toml").policy
        return self._door.answer(
            "jobs.html.j2",
            request,
            session,
            jobs=jobs,
            file=table_of_jobs(jobs),
            policy=policy,
            phrase=phrase,
        )

    def _job(self, request: Request, session: Session[str]) -> Response:
        view = job_view(self._folder, _digest(request))
        return self._door.answer("job.html.j2", request, session, view=view, longest=LONGEST_REASON)

    def _budgets(self, request: Request, session: Session[str]) -> Response:
        found = [(budget, spent_by_jobs(budget, self._folder)) for budget in budgets(self._folder)]
        return self._door.answer("budgets.html.j2", request, session, budgets=found)

    def _sent(self, request: Request, session: Session[str]) -> Response:
        coordinator = load_site(self._folder / "site.toml").site.coordinator
        runs = sent_runs(self._folder)
        asked = request.query_params.get("job"), request.query_params.get("run")
        chosen = [run for run in runs if (run.job, run.run) == asked]
        return self._door.answer(
            "sent.html.j2",
            request,
            session,
            runs=runs,
            file=table_of_runs(runs),
            chosen=chosen,
            coordinator=coordinator,
        )

    def _log(self, request: Request, session: Session[str]) -> Response:
        choice = _choice(request)
        found, has_older = newest(self._folder, choice)
        return self._door.answer(
            "log.html.j2",
            request,
            session,
            choice=choice,
            entries=found,
            file=table_of_lines(found),
            has_older=has_older,
            checked=self._log_check.look(),
            jobs=all_jobs(self._folder),
            events=sorted(EVENTS),
        )

    def _policy(self, request: Request, session: Session[str]) -> Response:
        lines = policy_lines(load_site(self._folder / "site.toml").policy)
        file = self._folder / "site.toml"
        return self._door.answer("policy.html.j2", request, session, lines=lines, file=file.resolve())

    def _data(self, request: Request, session: Session[str]) -> Response:
        datasets = load_site(self._folder / "site.toml").datasets
        looks = {name: self._looks.of(name) for name in datasets}
        return self._door.answer("data.html.j2", request, session, datasets=datasets, looks=looks)

    def _dataset(self, request: Request, session: Session[str]) -> Response:
        name = request.path_params["name"]
        dataset = load_site(self._folder / "site.toml").dataset(name)
        look = self._looks.of(name)
        return self._door.answer("dataset.html.j2", request, session, name=name, dataset=dataset, look=look)

    def _contact_sheet(self, request: Request, _: Session[str]) -> Response:
        look = self._looks.of(request.path_params["name"])
        if look is None or look.seen is None or look.seen.picture is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, "nobody has looked at this dataset yet")
        return Response(look.seen.picture, media_type="image/png")

    def _live(self, request: Request, _: Session[str]) -> Response:
        return live_answer(self._progress(request.path_params["name"]))

    async def _progress(self, name: str) -> AsyncIterator[bytes]:
        """Yield how far the look at a dataset is, until the page is to be loaded again."""
        while (look := self._looks.of(name)) is not None and not look.is_over:
            yield event({"look": self._pages.part("look.html.j2", name=name, look=look)})
            await asyncio.sleep(_LOOK_S)
        yield event({"over": ""})

    # What is done

    def _decided(self, decision: Decision) -> Endpoint:
        async def decide(request: Request) -> Response:
            session, form = await self._door.form(request)
            digest, reason = _digest(request), form.get("reason", "")[:LONGEST_REASON]
            if decision == "approved" and form.get("read") != "yes":
                raise HTTPException(
                    HTTPStatus.BAD_REQUEST,
                    "say first that you have read what the job does; nothing was decided",
                )
            job = await run_in_threadpool(
                decide_seen, self._folder, digest, decision, form.get("seen", ""), reason
            )
            session.say(f"You have {decision} the job '{job.name}'. The audit log says so.")
            return RedirectResponse(f"/jobs/{digest}", HTTPStatus.SEE_OTHER)

        return decide

    async def _look(self, request: Request) -> Response:
        await self._door.form(request)
        name = request.path_params["name"]
        self._looks.start(name, load_site(self._folder / "site.toml").dataset(name))
        return RedirectResponse(f"/data/{name}", HTTPStatus.SEE_OTHER)

    async def _check_log(self, request: Request) -> Response:
        await self._door.form(request)
        await run_in_threadpool(self._log_check.look, asked=True)
        return RedirectResponse("/log", HTTPStatus.SEE_OTHER)


def _digest(request: Request) -> str:
    digest = str(request.path_params["digest"])
    if not _DIGEST.fullmatch(digest):
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such job")
    return digest


def _choice(request: Request) -> Choice:
    """Return which entries of the log are asked for; what can't be meant is left out."""
    asked = request.query_params
    day, job, event, before = (asked.get(name, "") for name in ("day", "job", "event", "before"))
    return Choice(
        day if re.fullmatch(r"\d{4}-\d{2}-\d{2}", day, re.ASCII) else "",
        job if _DIGEST.fullmatch(job) else "",
        event if event in EVENTS else "",
        int(before) if re.fullmatch(r"\d{1,15}", before, re.ASCII) else 0,
    )
