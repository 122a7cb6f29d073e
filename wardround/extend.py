"""What a package needs that adds networks, tasks, strategies, metrics or kinds of fields: docs/extending.md.

Options (light halves) load no PyTorch; a name of the heavy halves loads it when it is first asked for, so a
module of options imports those only where it needs them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client.data.kinds import Kind as Kind
    from client.data.kinds.boxes import BoxesKind as BoxesKind
    from client.data.kinds.cells import number_in as number_in
    from client.data.kinds.cells import yes_or_no as yes_or_no
    from client.data.kinds.drawing import Drawing as Drawing
    from client.data.kinds.image import ImageKind as ImageKind
    from client.data.kinds.label import LabelKind as LabelKind
    from client.data.kinds.mask import MaskKind as MaskKind
    from client.data.kinds.number import NumberKind as NumberKind
    from client.data.kinds.points import PointsKind as PointsKind
    from client.data.kinds.row_images import Scene as Scene
    from client.data.kinds.tally import Tally as Tally
    from client.data.manifest.rows import Record as Record
    from client.data.motion.steps import Step as Step
    from shared.batch import Batch as Batch
    from shared.batch import Prediction as Prediction
    from shared.errors import DataError as DataError
    from shared.errors import JobError as JobError
    from shared.errors import WardroundError as WardroundError
    from shared.further_metrics.options import MetricOptions as MetricOptions
    from shared.job.data_options import DataTable as DataTable
    from shared.job.schema import JobSpec as JobSpec
    from shared.metrics.cells import Cells as Cells
    from shared.metrics.figures import Figure as Figure
    from shared.metrics.histograms import Histograms as Histograms
    from shared.metrics.replicates import Rivals as Rivals
    from shared.metrics.replicates import Tables as Tables
    from shared.metrics.spec import MetricSpec as MetricSpec
    from shared.metrics.states import LARGEST_LOSS as LARGEST_LOSS
    from shared.metrics.states import Mean as Mean
    from shared.metrics.states import MetricSet as MetricSet
    from shared.metrics.states import Totals as Totals
    from shared.metrics.states import bounded as bounded
    from shared.metrics.statistic_spec import StatisticSpec as StatisticSpec
    from shared.networks.options import Ends as Ends
    from shared.networks.options import MapOptions as MapOptions
    from shared.networks.options import VectorOptions as VectorOptions
    from shared.strategies.flower_halves import CentralHalf as CentralHalf
    from shared.strategies.options import FlowerOptions as FlowerOptions
    from shared.strategies.options import StrategyOptions as StrategyOptions
    from shared.strategies.vectors import MODEL as MODEL
    from shared.strategies.vectors import SiteHalf as SiteHalf
    from shared.strategies.vectors import Train as Train
    from shared.strategies.vectors import Trained as Trained
    from shared.strategies.vectors import Vectors as Vectors
    from shared.tasks.answers import Answer as Answer
    from shared.tasks.answers import FoundBoxes as FoundBoxes
    from shared.tasks.answers import FoundField as FoundField
    from shared.tasks.answers import FoundImage as FoundImage
    from shared.tasks.base import Models as Models
    from shared.tasks.base import Phase as Phase
    from shared.tasks.base import Task as Task
    from shared.tasks.classes import ClassesTask as ClassesTask
    from shared.tasks.classification.options import Classification as Classification
    from shared.tasks.classification.task import ClassificationTask as ClassificationTask
    from shared.tasks.explained import Explained as Explained
    from shared.tasks.fields import Field as _Field
    from shared.tasks.fields import Pairing as Pairing
    from shared.tasks.look import Look as Look
    from shared.tasks.look import Shown as Shown
    from shared.tasks.options import ClassesOptions as ClassesOptions
    from shared.tasks.options import PhaseSpec as PhaseSpec
    from shared.tasks.options import TaskOptions as TaskOptions
    from shared.tasks.record_task import RecordTask as RecordTask
    from shared.tasks.records import RecordOptions as RecordOptions
    from shared.tasks.segmentation.options import Segmentation as Segmentation
    from shared.tasks.segmentation.task import SegmentationTask as SegmentationTask
    from shared.tasks.stack_options import SEVERAL as SEVERAL
    from shared.tasks.stack_options import StackTable as StackTable
    from shared.tasks.stacks import StackedTask as StackedTask
    from shared.tasks.stacks import Stacks as Stacks
    from shared.tasks.whole_images import Windows as Windows
    from shared.tasks.whole_images import padded as padded
    from shared.wire.packed_model import Layout as Layout

    SampleField = _Field

_PLACES = {
    "client.data.kinds": ("Kind",),
    "client.data.kinds.boxes": ("BoxesKind",),
    "client.data.kinds.cells": ("number_in", "yes_or_no"),
    "client.data.kinds.drawing": ("Drawing",),
    "client.data.kinds.image": ("ImageKind",),
    "client.data.kinds.label": ("LabelKind",),
    "client.data.kinds.mask": ("MaskKind",),
    "client.data.kinds.number": ("NumberKind",),
    "client.data.kinds.points": ("PointsKind",),
    "client.data.kinds.row_images": ("Scene",),
    "client.data.kinds.tally": ("Tally",),
    "client.data.manifest.rows": ("Record",),
    "client.data.motion.steps": ("Step",),
    "shared.batch": ("Batch", "Prediction"),
    "shared.errors": ("DataError", "JobError", "WardroundError"),
    "shared.further_metrics.options": ("MetricOptions",),
    "shared.job.data_options": ("DataTable",),
    "shared.job.schema": ("JobSpec",),
    "shared.metrics.figures": ("Figure",),
    "shared.metrics.histograms": ("Histograms",),
    "shared.metrics.replicates": ("Rivals", "Tables"),
    "shared.metrics.spec": ("MetricSpec",),
    "shared.metrics.cells": ("Cells",),
    "shared.metrics.states": ("LARGEST_LOSS", "Mean", "MetricSet", "Totals", "bounded"),
    "shared.metrics.statistic_spec": ("StatisticSpec",),
    "shared.networks.options": ("Ends", "MapOptions", "VectorOptions"),
    "shared.strategies.flower_halves": ("CentralHalf",),
    "shared.strategies.options": ("FlowerOptions", "StrategyOptions"),
    "shared.strategies.vectors": ("MODEL", "SiteHalf", "Train", "Trained", "Vectors"),
    "shared.tasks.answers": ("Answer", "FoundBoxes", "FoundField", "FoundImage"),
    "shared.tasks.base": ("Models", "Phase", "Task"),
    "shared.tasks.classes": ("ClassesTask",),
    "shared.tasks.classification.options": ("Classification",),
    "shared.tasks.classification.task": ("ClassificationTask",),
    "shared.tasks.explained": ("Explained",),
    "shared.tasks.fields": ("Pairing", "SampleField"),
    "shared.tasks.look": ("Look", "Shown"),
    "shared.tasks.options": ("ClassesOptions", "PhaseSpec", "TaskOptions"),
    "shared.tasks.record_task": ("RecordTask",),
    "shared.tasks.records": ("RecordOptions",),
    "shared.tasks.segmentation.options": ("Segmentation",),
    "shared.tasks.segmentation.task": ("SegmentationTask",),
    "shared.tasks.stack_options": ("SEVERAL", "StackTable"),
    "shared.tasks.stacks": ("StackedTask", "Stacks"),
    "shared.tasks.whole_images": ("Windows", "padded"),
    "shared.wire.packed_model": ("Layout",),
}
_MODULES = {name: module for module, names in _PLACES.items() for name in names}
_CALLED = {"SampleField": "Field"}  # which here would be taken for pydantic's

__all__ = list(_MODULES)


def __getattr__(name: str) -> Any:
    """Return what is asked for, loading the module that has it."""
    if name not in _MODULES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    found = getattr(import_module(_MODULES[name]), _CALLED.get(name, name))
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted(__all__)
