"""The command line: parsing, confirming, drawing. Nothing below it prints."""
