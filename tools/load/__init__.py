"""Loads a server with many readers at the same time, and measures how long they wait; see `python -m tools.load -h`."""
