"""What the documentation site has beyond docs/: two pages of the project's root, and the notebooks as pages.

MkDocs calls the functions (mkdocs.yml, `hooks`).
"""

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

PROJECT = Path(__file__).parents[1]
RUNS = "RUN_NOTEBOOKS" in os.environ  # which takes more than a minute
ROOT_PAGES = ("CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
NOTEBOOK = r"\]\(([\w/-]+)\.ipynb\)"  # a link to one, which leads to its page
OUTSIDE = r"\]\(\.\./([^)#\s]+)"  # a link to a file of the project outside docs/


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages and files of the root, and a page for each notebook."""
    texts = [page.read_text(encoding="utf-8") for page in (PROJECT / "docs").glob("*.md")]
    linked = {name for text in texts for name in re.findall(OUTSIDE, text)}
    for name in sorted(linked.union(ROOT_PAGES)):
        files.append(File.generated(config, name, abs_src_path=str(PROJECT / name)))
    for notebook in sorted((PROJECT / "docs" / "notebooks").glob("*.ipynb")):
        place = f"notebooks/{notebook.stem}.md"
        files.append(File.generated(config, place, content=notebook_page(notebook)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links between docs/ and the root lead to where the site has them."""
    if page.file.src_uri in ROOT_PAGES:
        return re.sub(r"\]\(docs/", "](", markdown)
    if page.file.src_uri.startswith("notebooks/"):
        return markdown
    markdown = re.sub(NOTEBOOK, r"](\1.md)", markdown)
    return re.sub(OUTSIDE, r"](\1", markdown)


def notebook_page(notebook: Path) -> str:
    """Return a notebook as Markdown: its texts, its code, and what that gives where it was run."""
    cells = json.loads(_run(notebook) if RUNS else notebook.read_text(encoding="utf-8"))["cells"]
    title, *rest = map(_shown, cells)
    return "\n\n".join([title, f"As a notebook to run: [{notebook.name}]({notebook.name}).", *rest]) + "\n"


def _run(notebook: Path) -> str:
    """Return a notebook with what its code gives, run in an empty folder."""
    import nbformat
    from nbclient import NotebookClient

    content = nbformat.read(notebook, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(content, timeout=600, resources={"metadata": {"path": folder}}).execute()
    return str(nbformat.writes(content))


def _shown(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return re.sub(NOTEBOOK, r"](\1.md)", text)
    return "\n\n".join([f"```python\n{text}\n```", *filter(None, map(_output, cell["outputs"]))])


def _output(output: dict[str, Any]) -> str:
    """Return what a cell gave: a table, a picture or a text."""
    data = {kind: "".join(content) for kind, content in output.get("data", {}).items()}
    if table := re.search(r"<table.*</table>", data.get("text/html", ""), re.DOTALL):
        return re.sub(r"\n\s*", "", table[0])
    if "image/png" in data:
        return f'<img alt="what the cell draws" src="data:image/png;base64,{data["image/png"].strip()}">'
    text = data.get("text/plain") or "".join(output.get("text", ""))
    return f"```text\n{text.rstrip()}\n```" if text.strip() else ""
