"""What a handler holds: a dict that records what was done to it. No I/O, no clock, no Tornado."""
