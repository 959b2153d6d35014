"""Closed sessions moved out of a store into files or stores by time, tenant or size."""
