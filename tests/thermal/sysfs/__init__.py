"""Tests of thermal/sysfs."""
