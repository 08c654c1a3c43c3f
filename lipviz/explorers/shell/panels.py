"""What explorers share that draw different lines in different states."""


def redrawn(explorer, update, *kinds):
    """Say whether a picture can be updated, and clear its panels where it cannot.

    Args:
        explorer: The explorer, which remembers what it drew last.
        update: Whether there is a picture to update.
        kinds: What the lines of the picture depend on: where one of them has changed, lines are drawn anew.

    Returns:
        True where lines may be moved, False where they have to be drawn.
    """
    drawn, explorer._drawn = getattr(explorer, "_drawn", None), None
    update = update and drawn == kinds
    if not update:
        for ax in explorer.figure.axes:
            ax.clear()
            ax.set_aspect("auto")  # which `clear` leaves as it was
    explorer._drawn = kinds
    return update
