"""Tests of `castor.tokens`."""
