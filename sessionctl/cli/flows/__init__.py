"""What commands do between their options and their output: look, show, confirm, apply, report."""
