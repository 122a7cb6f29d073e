"""From heaps of DICOM to a dataset: which series become its rows, under pseudonyms, and why others do not."""
