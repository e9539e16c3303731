"""Tests of what is installed: wheel, image, compose file, systemd unit."""
