"""Results drawn for people, and their records for programs."""
