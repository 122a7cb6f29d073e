"""Boxes, sizes and scores as a DICOM structured report: TID 1500, measurement report (PS3.16)."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from highdicom.seg import Segmentation
from highdicom.sr import (
    AlgorithmIdentification,
    ComprehensiveSR,
    DeviceObserverIdentifyingAttributes,
    GraphicTypeValues,
    ImageRegion,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    ReferencedSegment,
    ReferencedSegmentationFrame,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    SourceImageForSegmentation,
    TrackingIdentifier,
    VolumetricROIMeasurementsAndQualitativeEvaluations,
)
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from client.predict.dicom.codes import SCHEME, Coded, private
from client.predict.dicom.grid import FileGrid, Plane
from client.predict.dicom.maker import Maker
from client.predict.said import Found, Numbers, Sizes
from shared.errors import DataError

_SERIES = 9702
_UNITS = {
    "ml": (codes.SCT.Volume, Code("cm3", "UCUM", "cubic centimeter")),
    "mm2": (codes.SCT.Area, codes.UCUM.SquareMillimeter),
    "pixels": (private("Pixels"), Code("{pixels}", "UCUM", "pixels")),
}
Group: TypeAlias = Any
"""Measurements of one structure, box or image (TID 1410, 1411, 1501): highdicom has no types."""


@dataclass(frozen=True)
class Reporter:
    """Writes what was said of one image as measurements of it.

    Attributes:
        grid: Of the image, in its files.
        maker: The model.
        codes: What each class is, by its name.
        segmentation: Of the image, to whose segments sizes belong; None where none was written.
    """

    grid: FileGrid
    maker: Maker
    codes: Mapping[str, Coded]
    segmentation: Segmentation | None = None

    def report(self, sizes: Sizes, boxes: Sequence[Found], numbers: Numbers) -> ComprehensiveSR:
        """Return the report.

        Args:
            sizes: How large each structure is.
            boxes: The boxes that were found.
            numbers: What else was said.

        Raises:
            DataError: Nothing was said that it could hold, or the files lack what it refers to.
        """
        groups = [
            *self._of_structures(sizes),
            *self._of_boxes(boxes),
            *self._of_image(numbers),
        ]
        if not groups:
            raise DataError("has nothing that could be reported: no size, box or number is said of it")
        context = ObservationContext(observer_device_context=self._observer())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of names and values that the source has
                content = MeasurementReport(
                    observation_context=context,
                    procedure_reported=codes.SCT.ImagingProcedure,
                    imaging_measurements=groups,
                )
                return self._document(content, str([sizes, boxes, numbers]))
        except (ValueError, TypeError, AttributeError) as error:
            text = " ".join(str(error).split())
            raise DataError(
                f"can't be referred to by a report ({text})", where=self.grid.source.path
            ) from None

    def _document(self, content: MeasurementReport, said: str) -> ComprehensiveSR:
        source = self.grid.source
        equipment = self.maker.equipment()
        written = [] if self.segmentation is None else [self.segmentation]
        return ComprehensiveSR(
            evidence=[*source.headers, *written],
            content=content[0],
            series_instance_uid=self.maker.uid("SR", str(source.first.SeriesInstanceUID)),
            series_number=_SERIES,
            sop_instance_uid=self.maker.uid("SR", *source.uids, said),
            instance_number=1,
            is_complete=True,
            is_final=False,  # nobody has looked at it
            series_description=self.maker.title,
            coding_schemes=[SCHEME],
            **equipment,
        )

    def _observer(self) -> ObserverContext:
        about = self.maker.equipment()
        return ObserverContext(
            codes.DCM.Device,
            DeviceObserverIdentifyingAttributes(
                uid=self.maker.uid("device"),
                name=self.maker.title,
                manufacturer_name=about["manufacturer"],
                model_name=about["manufacturer_model_name"],
                serial_number=about["device_serial_number"],
            ),
        )

    def _group(self, name: str) -> dict[str, Any]:
        """Return what each group of measurements begins with."""
        study = str(self.grid.source.first.StudyInstanceUID)
        about = AlgorithmIdentification(
            self.maker.name, self.maker.version, family=codes.DCM.ArtificialIntelligence
        )
        return {
            "tracking_identifier": TrackingIdentifier(self.maker.uid("finding", study, name), name),
            "algorithm_id": about,
        }

    def _of_structures(self, sizes: Sizes) -> Iterator[Group]:
        for number, (name, (unit, size)) in enumerate(sizes.items(), 1):
            own = self.codes[name]
            measure = Measurement(_UNITS[unit][0], size, _UNITS[unit][1])
            group = {
                **self._group(name),
                "finding_type": own.type,
                "finding_category": own.category,
                "measurements": [measure],
            }
            if self.segmentation is None or not size:  # of nothing there is no place
                yield MeasurementsAndQualitativeEvaluations(**group, source_images=self._source_images())
            elif self.grid.is_flat:
                yield PlanarROIMeasurementsAndQualitativeEvaluations(
                    **group, referenced_segment=self._segment_of_image(self.segmentation, number)
                )
            else:
                yield VolumetricROIMeasurementsAndQualitativeEvaluations(
                    **group, referenced_segment=self._segment(self.segmentation, number)
                )

    def _segment(self, written: Segmentation, number: int) -> ReferencedSegment:
        images = [SourceImageForSegmentation(*_named(header)) for header in self.grid.source.headers]
        return ReferencedSegment(
            written.SOPClassUID, written.SOPInstanceUID, segment_number=number, source_images=images
        )

    def _segment_of_image(self, written: Segmentation, number: int) -> ReferencedSegmentationFrame:
        image = SourceImageForSegmentation(*_named(self.grid.source.first))
        return ReferencedSegmentationFrame(
            written.SOPClassUID, written.SOPInstanceUID, number, number, source_image=image
        )

    def _of_boxes(self, boxes: Sequence[Found]) -> Iterator[Group]:
        planes = self.grid.planes() if boxes else []
        for number, box in enumerate(map(self._in_files, boxes), 1):
            own = self.codes[box.name]
            group = {
                **self._group(f"{box.name} {number}"),
                "finding_type": own.type,
                "finding_category": own.category,
                "measurements": [Measurement(private("Score"), box.score, codes.UCUM.NoUnits)],
            }
            if self.grid.is_flat:
                yield PlanarROIMeasurementsAndQualitativeEvaluations(
                    **group, referenced_region=_region(box, planes[0])
                )
            else:
                low, high = int(np.floor(box.low[0])), int(np.ceil(box.high[0]))
                regions = [_region(box, plane) for plane in planes[low : max(high, low + 1)]]
                yield VolumetricROIMeasurementsAndQualitativeEvaluations(**group, referenced_regions=regions)

    def _in_files(self, box: Found) -> Found:
        """Return a box with its corners as ([plane, ]row, column)."""
        low, high = self.grid.boxes(np.array([box.low, box.high])).tolist()
        return replace(box, low=tuple(low), high=tuple(high))

    def _of_image(self, numbers: Numbers) -> Iterator[Group]:
        """Yield the classes that the image was given, each with its score, then all numbers."""
        for name in numbers.names:
            own, score = self.codes[name], numbers.values.get(f"score/{name}")
            measure = [] if score is None else [Measurement(private("Score"), score, codes.UCUM.NoUnits)]
            yield MeasurementsAndQualitativeEvaluations(
                **self._group(name),
                finding_type=own.type,
                finding_category=own.category,
                measurements=measure,
                source_images=self._source_images(),
            )
        if not numbers.values:
            return
        yield MeasurementsAndQualitativeEvaluations(
            **self._group("image"),
            measurements=[
                Measurement(private(name), value, codes.UCUM.NoUnits)
                for name, value in numbers.values.items()
            ],
            source_images=self._source_images(),
        )

    def _source_images(self) -> list[SourceImageForMeasurementGroup]:
        return [SourceImageForMeasurementGroup(*_named(header)) for header in self.grid.source.headers]


def _region(box: Found, plane: Plane) -> ImageRegion:
    """Return the outline of a box on an image, in pixels from its upper left corner (PS3.3 C.18.6)."""
    (top, left), (bottom, right) = box.low[-2:], box.high[-2:]
    outline = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]])
    frames = None if plane.frame is None else [plane.frame]
    return ImageRegion(
        GraphicTypeValues.POLYLINE, outline, SourceImageForRegion(*_named(plane.header), frames)
    )


def _named(header: Any) -> tuple[str, str]:
    return str(header.SOPClassUID), str(header.SOPInstanceUID)
