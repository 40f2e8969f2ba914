"""What surrounds every run, whatever it does: its events and its account, screen, log, server, room on the disk, and how it is stopped."""
