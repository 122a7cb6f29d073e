"""`wardround server projects add, list, remove, join, leave`."""

from typing import TYPE_CHECKING, Annotated

import typer

from server.cli.enrol import HERE, Folder

if TYPE_CHECKING:
    from server.registry.projects import Kind

projects_app = typer.Typer(help="Who sees which runs, and which sites those reach.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="PROJECT", help="Name of the project.", show_default=False)]
Person = Annotated[str | None, typer.Option(help="Name of a person.", show_default=False)]
Site = Annotated[str | None, typer.Option(help="Name of a site.", show_default=False)]


def add_projects_commands(app: typer.Typer) -> None:
    """Add this module's commands to `wardround server`."""
    for command, name in ((add, "add"), (show, "list"), (remove, "remove"), (join, "join"), (leave, "leave")):
        projects_app.command(name)(command)
    app.add_typer(projects_app, name="projects")


def add(name: Name, folder: Folder = HERE) -> None:
    """Make a project; nobody belongs to it yet."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        registry.add_project(name)
    print(f"'{name}' is there; `wardround server projects join {name}` adds people and sites.")


def show(folder: Folder = HERE) -> None:
    """List the projects with their people and sites."""
    from rich.console import Console
    from rich.table import Table

    from server.registry.access import open_registry

    table = Table("project", "people", "sites", box=None, pad_edge=False)
    with open_registry(folder) as registry:
        for project in registry.projects():
            table.add_row(project.name, ", ".join(project.people), ", ".join(project.sites))
    Console().print(table)


def remove(name: Name, folder: Folder = HERE) -> None:
    """End a project that nobody belongs to any more; its runs stay, for operators."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        registry.remove_project(name)
    print(f"'{name}' has ended.")


def join(name: Name, person: Person = None, site: Site = None, folder: Folder = HERE) -> None:
    """Let a person, a site or both belong to a project, besides those that they belong to."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        for kind, member in _members(person, site):
            registry.join_project(name, kind, member)
            print(f"the {kind} '{member}' belongs to '{name}'")


def leave(name: Name, person: Person = None, site: Site = None, folder: Folder = HERE) -> None:
    """Let a person, a site or both belong to a project no more; a run that goes on keeps its sites."""
    from server.registry.access import open_registry

    with open_registry(folder) as registry:
        for kind, member in _members(person, site):
            registry.leave_project(name, kind, member)
            print(f"the {kind} '{member}' belongs to '{name}' no more")


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
