"""What law wants of recordings: personal data found and taken out, given out and erased, and a log that cannot be changed unseen."""
