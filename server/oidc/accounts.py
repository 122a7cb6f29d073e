"""Who somebody is here, by the claims of a provider: role and projects by groups, a token that ends soon."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, get_args

from server.oidc.settings import OidcError, OidcTable
from server.registry.people import People, Role
from shared.text.names import as_name

_ROLES: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True)
class Rights:
    """What the groups of somebody give: the highest role, and all projects."""

    role: Role
    projects: tuple[str, ...]


def rights_of(settings: OidcTable, claims: Mapping[str, Any]) -> Rights:
    """Return what somebody may do.

    Raises:
        OidcError: They are in no group that is let in.
    """
    said = claims.get(settings.groups_claim)
    listed = said if isinstance(said, list) else [said]
    own = [group for group in settings.groups if group.name in listed]
    if not own:
        raise OidcError(
            "this account is in none of the groups that are let in here",
            remedy="The operator names them in server.toml; the provider must list them in its ID token.",
        )
    role = max((group.role for group in own), key=_ROLES.index)
    projects = dict.fromkeys(project for group in own for project in group.projects)
    return Rights(role, tuple(projects))


def token_for(people: People, settings: OidcTable, claims: Mapping[str, Any]) -> str:
    """Return a token for who has logged in with an account.

    Raises:
        OidcError: The account is not let in, or has no name of use.
        RegistryError: Its name is somebody else's here, or a project of its groups is not there.
    """
    rights = rights_of(settings, claims)
    wanted = as_name(str(claims.get(settings.name_claim) or ""))
    if not wanted:
        raise OidcError(f"the account has no {settings.name_claim!r} after which it could be named here")
    return people.log_in_account(
        settings.issuer,
        str(claims["sub"]),
        wanted,
        role=rights.role,
        projects=rights.projects,
        hours=settings.hours,
    )
