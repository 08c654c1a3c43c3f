"""Scripts for those who work on lipviz: none of them is a test."""
