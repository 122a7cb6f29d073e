"""What is chosen of a tested model on the validation patients' sums: operating point, calibration, sets."""
