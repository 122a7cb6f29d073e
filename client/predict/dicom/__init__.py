"""What a model said of DICOM images, as DICOM: so that it lies beside them in a hospital's archive."""
