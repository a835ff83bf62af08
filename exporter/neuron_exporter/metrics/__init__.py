"""Turns reports into series: per-core truth, counters that only rise, one row for one metric."""
