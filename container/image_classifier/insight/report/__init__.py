"""One self-contained HTML page about a training job, made from whatever the job left.

Material (files read) -> model (numbers and sentences) -> template (HTML, SVG). No script, nothing loaded from outside.
"""

from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from image_classifier.insight.report.charts import SHADES, SIDE
from image_classifier.insight.report.material import gather
from image_classifier.insight.report.model import Report, build
from image_classifier.insight.verdict import Verdict

FILE = "report.html"


def write(output: Path, destination: Path | None = None, verdicts: Sequence[Verdict] | None = None) -> Path:
    """Write the report of a job.

    Args:
        output: `/opt/ml/output`, its `data`, an extracted `output.tar.gz`, or a copy of the job's S3 prefix.
        destination: the file to write; `report.html` beside the job's tables when not given.
        verdicts: of the rules, when they have been judged already.

    Returns:
        The file written.

    Raises:
        UserError: there is no such directory.
    """
    material = gather(output, verdicts)
    path = destination or (material.data or output) / FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render(build(material)), encoding="utf-8")
    return path


def render(report: Report) -> str:
    """The page as HTML. Everything that is put in is escaped: class names and paths are anybody's text."""
    environment = Environment(
        loader=PackageLoader("image_classifier.insight.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(report=report, SIDE=SIDE, SHADES=SHADES)
