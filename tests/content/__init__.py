"""What stored files contain."""
