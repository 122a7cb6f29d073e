"""The rules of an import: which series become the columns of a dataset (a TOML file of the hospital)."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from client.dicom_import.headers import KEEPABLE
from client.dicom_import.series import Series
from shared.errors import DataError
from shared.job.errors import describe
from shared.table import Name, Table
from shared.text.names import suggestion
from shared.toml_files import read_toml

OWN_COLUMNS = ("patient", "study", "series", "site", "split", "label")
"""Columns that an import writes itself, or that mean something else in a manifest."""


class SeriesRule(Table):
    """`[series.COLUMN]`: which series becomes a column; every key that is given must hold."""

    modality: str | None = Field(None, description="Such as MR, CT, DX, US, SEG.", examples=["MR"])
    description: list[str] = Field(
        [],
        description="Regular expressions, in any case: one is found in SeriesDescription or ProtocolName.",
        examples=[["flair", "dark.?fluid"]],
    )
    without: list[str] = Field([], description="Regular expressions: none of them is found there.")
    orientation: Literal["axial", "coronal", "sagittal"] | None = Field(
        None, description="The plane of its slices, up to 37 degrees aside."
    )
    slices: tuple[int, int] | None = Field(
        None, description="How many slices (places), at least and at most.", examples=[[20, 400]]
    )
    volumes: int | None = Field(
        None, ge=1, description="How many images lie at each place; 1 for one volume."
    )
    contrast: bool | None = Field(
        None, description="Whether a contrast agent was given (ContrastBolusAgent)."
    )
    of: Name | None = Field(
        None, description="SEG and RTSTRUCT: the column of the series that it was drawn on."
    )
    several: Literal["skip", "first", "last", "most-slices"] = Field(
        "skip",
        description="Which counts where several series of a row fit: none (the row is skipped), the first or "
        "last by its time, or the one with the most slices.",
    )

    @field_validator("description", "without")
    @classmethod
    def _are_expressions(cls, patterns: list[str]) -> list[str]:
        for pattern in patterns:
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"'{pattern}' is not a regular expression ({error})") from None
        return patterns

    def fits(self, series: Series) -> bool:
        """Say whether a series is one of these."""
        told = series.descriptions
        return (
            (self.modality is None or self.modality.casefold() == series.modality.casefold())
            and (not self.description or any(_found(pattern, told) for pattern in self.description))
            and not any(_found(pattern, told) for pattern in self.without)
            and self.orientation in (None, series.orientation)
            and (self.slices is None or self.slices[0] <= series.slices <= self.slices[1])
            and self.volumes in (None, series.volumes)
            and self.contrast in (None, series.contrast)
        )


class TableRule(Table):
    """`[table]`: what of the hospital's own table (--table) stands beside the images."""

    by: Literal["accession_number", "patient_id", "study_uid"] = Field(
        "accession_number", description="What finds a row's images; also its column's name, without `key`."
    )
    key: str | None = Field(None, description="The column with that, where it is called otherwise.")
    columns: list[str] = Field(
        description="Columns to take, and no others; [] where the table only says which images.",
        examples=[["label"]],
    )

    @property
    def column(self) -> str:
        """The table's column that finds the images."""
        return self.key or self.by


class Rules(Table):
    """The file of rules."""

    rows: Literal["image", "series", "study", "patient"] = Field(
        "series",
        description="What a row of the dataset is: one image or one series (column `image`), or a study or "
        "patient with a column for each rule, all of which it must have.",
    )
    keep: list[str] = Field(
        [],
        description=f"Values of headers that become columns; dates are shifted. Of {', '.join(KEEPABLE)}.",
        examples=[["PatientSex", "PatientAge"]],
    )
    series: dict[Name, SeriesRule] = Field(
        {"image": SeriesRule()}, description="In this order: the first rule that fits a series counts."
    )
    table: TableRule | None = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for name in self.keep:
            if name not in KEEPABLE:
                raise ValueError(f"[keep] can't be '{name}'; {suggestion(name, KEEPABLE)}")
        for name, rule in self.series.items():
            if name in OWN_COLUMNS:
                raise ValueError(f"[series.{name}] can't be a column of images: choose another name")
            if rule.of is not None and (rule.of not in self.series or rule.of == name):
                raise ValueError(f"[series.{name}] of: there is no other rule '{rule.of}'")
            if rule.of is not None and not self.is_wide:
                raise ValueError(f'[series.{name}] of: needs rows = "study" or "patient"')
        if not self.series:
            raise ValueError("[series] has no rule")
        taken = {*self.columns, *OWN_COLUMNS} - {"label", "site", "split"}
        for name in self.table.columns if self.table else ():
            if name in taken:
                raise ValueError(f"[table] columns: '{name}' is a column of the import itself")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of images."""
        return tuple(self.series) if self.is_wide else ("image",)

    @property
    def is_wide(self) -> bool:
        """Whether a row has a column for each rule."""
        return self.rows in ("study", "patient")

    def first_that_fits(self, series: Series) -> str | None:
        """Return the name of the first rule that fits a series."""
        return next((name for name, rule in self.series.items() if rule.fits(series)), None)


def load_rules(path: Path | None) -> Rules:
    """Read the rules; without a file each series that is an image becomes a row.

    Raises:
        DataError: The file is missing, not TOML, or has a wrong key or value.
    """
    if path is None:
        return Rules()
    try:
        return Rules.model_validate(read_toml(path, DataError))
    except ValidationError as error:
        raise DataError(describe(error, Rules), where=path) from None


def _found(pattern: str, told: str) -> bool:
    return re.search(pattern, told, re.IGNORECASE) is not None
