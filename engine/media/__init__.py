"""Media of calls: from packets to sound and back, and onto the disk."""
