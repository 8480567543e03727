"""Coverage-guided fuzz targets (atheris); ``make fuzz`` runs them in turn, ``python -m tests.fuzz.failover`` one."""
