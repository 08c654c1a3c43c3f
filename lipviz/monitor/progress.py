"""How far training is, in numbers and words."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a call of `fit` is.

    Attributes:
        epoch: Number of the epoch that is under way, or was last; 0 before the first.
        epochs: Number of epochs of this call.
        batch: Batches of this epoch so far.
        steps: Batches of an epoch; None where it is not known.
        seconds: Seconds since the call began.
        seconds_left: Estimate, from the batches so far; None where it is not known.
        status: See `TrainingLog`.
        remarks: Sentences that the reader should see.
    """

    epoch: int
    epochs: int
    batch: int
    steps: int | None
    seconds: float
    seconds_left: float | None
    status: str
    remarks: tuple[str, ...] = ()

    @property
    def share(self) -> float:
        """Share of the batches of all epochs that is done, in [0, 1]."""
        if self.status == "finished":
            return 1.0
        done = max(self.epoch - 1, 0) + (min(self.batch / self.steps, 1.0) if self.steps else 0.0)
        return min(done / max(self.epochs, 1), 1.0)

    def __str__(self):
        where = f"epoch {self.epoch} of {self.epochs}"
        if self.status == "finished":
            return f"Finished: {self.epoch} of {self.epochs} epochs in {duration(self.seconds)}."
        if self.status == "interrupted":
            return f"Interrupted in {where}, batch {self.batch}, after {duration(self.seconds)}."
        batch = f"batch {self.batch} of {self.steps}" if self.steps else f"batch {self.batch}"
        left = "" if self.seconds_left is None else f", {duration(self.seconds_left)} left"
        return f"{where[0].upper()}{where[1:]}, {batch}, {duration(self.seconds)} so far{left}"


def duration(seconds: float) -> str:
    """A time as text: 0:07, 12:30 or 1:02:03."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
