"""Tests of thermal/service."""
