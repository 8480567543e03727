"""Camera calibration and detector training: pixels to metres, with the error stated. See README.md."""
