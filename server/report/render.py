"""A report as one HTML file: it needs no network, no script and nothing beside it."""

from importlib import metadata

from markupsafe import Markup

from server.report.content import Report
from shared.web.charts import svg
from shared.web.environment import make_environment, stylesheet


def html(report: Report) -> str:
    """Return the page. Whatever a job, a site or a run says is escaped in it."""
    drawn = {
        (section.name, figure.name): Markup(svg(figure))  # noqa: S704 (made here, its texts escaped by Vega)
        for section in report.sections
        for figure in section.figures
    }
    environment = make_environment("server.report", "page")
    return environment.get_template("report.html.j2").render(
        report=report,
        style=Markup(stylesheet()),  # noqa: S704 (a file of ours)
        drawn=drawn,
        version=metadata.version("wardround"),
    )
