# SPDX-License-Identifier: MIT
"""Timestamps: ns since 1970, as the messages of queues have them."""

import time


class TimestampSynchronizer:
    """Functions for timestamps. All processes of a machine see the same clock, so there is nothing to synchronise."""

    @staticmethod
    def now():
        """The time in ns since 1970."""
        return time.time_ns()

    @staticmethod
    def now_micros():
        """The time in us since 1970."""
        return time.time_ns() // 1000

    @staticmethod
    def now_millis():
        """The time in ms since 1970."""
        return time.time_ns() // 1000000

    @staticmethod
    def nanos_to_micros(nanos):
        """Rounded down.

        >>> TimestampSynchronizer.nanos_to_micros(1999)
        1
        """
        return nanos // 1000

    @staticmethod
    def nanos_to_millis(nanos):
        """Rounded down.

        >>> TimestampSynchronizer.nanos_to_millis(1999999)
        1
        """
        return nanos // 1000000

    @staticmethod
    def is_timestamp_valid(timestamp, tolerance_ms=10000):
        """Is it within tolerance_ms of now, before or after?

        >>> TimestampSynchronizer.is_timestamp_valid(timestamp_now())
        True
        >>> TimestampSynchronizer.is_timestamp_valid(0)
        False
        """
        return abs(time.time_ns() - timestamp) <= tolerance_ms * 1000000


timestamp_now = TimestampSynchronizer.now
timestamp_micros = timestamp_now_micros = TimestampSynchronizer.now_micros
timestamp_millis = timestamp_now_millis = TimestampSynchronizer.now_millis
