"""Writes what is in an image as CycloneDX: the packages of Python in /opt/wardround, and those of Debian.

    python deploy/sbom.py ROOT IMAGE FILE

ROOT is where the image is mounted, IMAGE its name with its version. Needs `cyclonedx-python-lib` with
`json-validation`, and is run by `deploy/images.sh`. The same image and SOURCE_DATE_EPOCH give the same file.
"""

import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.model import Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, LicenseExpression
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

INSTALLED = "install ok installed"  # as Debian says it of a package
LONGEST_NAME = 60  # characters of what is still the name of a licence, and not its text


def main(root: Path, image: str, file: Path) -> None:
    """Write the file, and check it against CycloneDX's schema."""
    name, _, version = image.rpartition(":")
    bom = Bom(serial_number=uuid5(NAMESPACE_URL, image))
    bom.metadata.component = Component(
        name=name, version=version, type=ComponentType.CONTAINER, bom_ref=image
    )
    bom.metadata.timestamp = datetime.fromtimestamp(int(os.environ.get("SOURCE_DATE_EPOCH", "0")), UTC)
    found = {canonicalize_name(package.name): package for package in python_packages(root)}
    components = {name: python_component(package) for name, package in found.items()}
    for name, package in found.items():
        bom.components.add(components[name])
        needed = {canonicalize_name(Requirement(text).name) for text in package.requires or ()}
        bom.register_dependency(components[name], [components[other] for other in needed & components.keys()])
    system = list(debian_components(root))
    bom.components.update(system)
    bom.register_dependency(bom.metadata.component, [*components.values(), *system])
    text = JsonV1Dot6(bom).output_as_string(indent=1)
    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        sys.exit(f"{file}: is not what CycloneDX asks for: {problem}")
    file.write_text(text + "\n", encoding="utf-8")
    print(f"{file}: {len(components)} packages of Python, {len(system)} of Debian")


def python_packages(root: Path) -> Iterator[Distribution]:
    """Yield the packages of the image's environment."""
    folders = [str(path) for path in (root / "opt" / "wardround" / "lib").glob("python3*/site-packages")]
    yield from distributions(path=folders)


def python_component(package: Distribution) -> Component:
    """Return a package of Python with its licence, where it names one."""
    expression, named = package.metadata.get("License-Expression"), package.metadata.get("License")
    licences: list[DisjunctiveLicense | LicenseExpression] = []
    if expression:
        licences = [LicenseExpression(expression)]
    elif named and len(named) <= LONGEST_NAME:
        licences = [DisjunctiveLicense(name=named)]
    purl = PackageURL("pypi", None, canonicalize_name(package.name), package.version)
    return Component(
        name=package.name, version=package.version, licenses=licences, purl=purl, bom_ref=purl.to_string()
    )


def debian_components(root: Path) -> Iterator[Component]:
    """Yield the packages of the system, if it is a Debian."""
    status = root / "var" / "lib" / "dpkg" / "status"
    paragraphs = status.read_text(encoding="utf-8").split("\n\n") if status.exists() else []
    for paragraph in paragraphs:
        fields = dict(
            line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " "
        )
        if fields.get("Status") != INSTALLED:
            continue
        name, version, processor = (fields[key] for key in ("Package", "Version", "Architecture"))
        purl = PackageURL("deb", "debian", name, version, {"arch": processor})
        source = Property(name="source", value=fields.get("Source", name))
        yield Component(name=name, version=version, purl=purl, bom_ref=purl.to_string(), properties=[source])


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
