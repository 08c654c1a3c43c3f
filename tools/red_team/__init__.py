"""A red team: draws random models, and attacks each claim that lipviz makes about them; see `__main__`."""
