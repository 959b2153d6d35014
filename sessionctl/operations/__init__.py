"""Use cases: no printing, no prompting; frozen results, progress through a callback."""
