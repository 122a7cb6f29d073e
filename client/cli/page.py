"""`wardround client page`: the hospital's own page, for whoever sits at this machine."""

from typing import Annotated

import typer

from client.cli.folder import HERE, Folder


def page(
    folder: Folder = HERE,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any free one.")] = 0,
    address: Annotated[str, typer.Option(help="On loopback.")] = "127.0.0.1",
) -> None:
    """Serve the hospital's page on this machine until stopped, and print the link that opens it, once.

    It shows which jobs wait and what each would do, and lets a person approve or deny them; and budgets, the
    audit log, what was sent, the data, the policy. It works beside the service, and without it.
    """
    from client.web.serve import serve_page

    def announce(link: str) -> None:
        print(f"The hospital's page, to be opened on this machine, once:\n\n  {link}\n", flush=True)
        print("It ends with Ctrl-C. Whoever has the link before you do decides in your name.", flush=True)

    serve_page(folder, address, port, announce)
