"""`wardround server projects add, list, remove, join, leave`."""

from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.folder import HERE, Folder
from shared.cli.answer import Json, answer
from shared.cli.app import App

if TYPE_CHECKING:
    from server.registry.projects import Kind

projects_app = App(help="Who sees which runs, and which sites those reach.")
Name = Annotated[str, typer.Argument(metavar="PROJECT", help="Name of the project.", show_default=False)]
Person = Annotated[str | None, typer.Option(help="Name of a person.", show_default=False)]
Site = Annotated[str | None, typer.Option(help="Name of a site.", show_default=False)]


@projects_app.command()
def add(name: Name, folder: Folder = HERE, json: Json = False) -> None:
    """Make a project; nobody belongs to it yet."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        registry.add_project(name)
    said = f"'{name}' is there; `wardround server projects join {name}` adds people and sites."
    answer(json, said, project=name)


@projects_app.command("list")
def show(folder: Folder = HERE, json: Json = False) -> None:
    """List the projects with their people and sites."""
    from server.registry.access import open_registry
    from shared.cli.table import table_lines

    with open_registry(folder) as registry:
        found = registry.projects()
    rows = [(project.name, ", ".join(project.people), ", ".join(project.sites)) for project in found]
    projects = [{key: getattr(project, key) for key in ("name", "people", "sites")} for project in found]
    answer(json, table_lines(("project", "people", "sites"), rows), projects=projects)


@projects_app.command()
def remove(name: Name, folder: Folder = HERE, json: Json = False) -> None:
    """End a project that nobody belongs to any more; its runs stay, for operators."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        registry.remove_project(name)
    answer(json, f"'{name}' has ended.", project=name)


@projects_app.command()
def join(
    name: Name, person: Person = None, site: Site = None, folder: Folder = HERE, json: Json = False
) -> None:
    """Let a person, a site or both belong to a project, besides those that they belong to."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        for kind, member in (members := _members(person, site)):
            registry.join_project(name, kind, member)
    said = [f"the {kind} '{member}' belongs to '{name}'" for kind, member in members]
    answer(json, said, project=name, joined=dict(members))


@projects_app.command()
def leave(
    name: Name, person: Person = None, site: Site = None, folder: Folder = HERE, json: Json = False
) -> None:
    """Let a person, a site or both belong to a project no more; a run that goes on keeps its sites."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        for kind, member in (members := _members(person, site)):
            registry.leave_project(name, kind, member)
    said = [f"the {kind} '{member}' belongs to '{name}' no more" for kind, member in members]
    answer(json, said, project=name, left=dict(members))


def _members(person: str | None, site: str | None) -> "list[tuple[Kind, str]]":
    from shared.errors import WardroundError

    members: list[tuple[Kind, str]] = []
    if person is not None:
        members.append(("person", person))
    if site is not None:
        members.append(("site", site))
    if not members:
        raise WardroundError("who is meant?", remedy="Name a person with --person, or a site with --site.")
    return members
