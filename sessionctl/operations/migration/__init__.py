"""Stores copied into another one, verified, and caught up with while agents go on."""
