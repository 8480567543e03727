"""Coverage-guided fuzz targets (atheris); run one with ``make fuzz`` or ``python -m tests.fuzz.record``."""
