"""A report as HTML: one file that needs nothing beside it and no network, or the middle of a page."""

from importlib import metadata
from typing import Any

from markupsafe import Markup

from server.report.content import Report
from shared.web.charts import svg
from shared.web.environment import make_environment, stylesheet


def html(report: Report) -> str:
    """Return a whole page. Whatever a job, a site or a run says is escaped in it."""
    style = Markup(stylesheet())  # noqa: S704 (a file of ours)
    return _rendered("report.html.j2", report, style=style, version=metadata.version("wardround"))


def middle(report: Report) -> str:
    """Return what stands between head and foot of a page that has its style elsewhere."""
    return _rendered("opening.html.j2", report) + _rendered("sections.html.j2", report)


def _rendered(template: str, report: Report, **content: Any) -> str:
    drawn = {
        (section.name, figure.name): Markup(svg(figure))  # noqa: S704 (made here, its texts escaped by Vega)
        for section in (report.sections if template != "opening.html.j2" else ())
        for figure in section.figures
    }
    environment = make_environment("server.report", "page")
    return environment.get_template(template).render(report=report, drawn=drawn, **content)
