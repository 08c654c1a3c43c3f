"""Take the moving picture of the playground that the readme and the documentation show.

python -m tools.film docs/_static/playground.webp

The page is used as a reader does, by its buttons and the mouse, but its clock stands still: a frame is drawn when this
program asks for one. So the same pictures come out on every machine.
"""

import contextlib
import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageDraw
from playwright.sync_api import Page

from lipviz.command import playground
from tests.browser.lab import find_chromium, launched

SIZE = {"width": 800, "height": 760}
MOST_BYTES = 3_000_000
FRAME = 80  # milliseconds
QUALITY = 50
CORNER = (770.0, 640.0)
POINTER = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 18), (7, 12), (12, 12)]
# Frames are drawn when `tick` is called. No frame seems to take long, so each takes all of its steps of training.
STOPPED_CLOCK = """
  const waiting = [];
  window.requestAnimationFrame = (draw) => waiting.push(draw);
  window.tick = () => waiting.splice(0).forEach((draw) => draw(0));
  performance.now = () => 0;
"""


class Film:
    """A page, the place of the mouse on it, and the pictures so far, each with its milliseconds."""

    def __init__(self, page: Page):
        self.page = page
        self.mouse = CORNER
        top, facts = (page.locator(name).first.bounding_box() for name in (".toolbar", ".figure dl"))
        y, end = int(top["y"]) - 6, int(facts["y"] + facts["height"]) + 6  # without the neurons
        self.part = {"x": 0, "y": y, "width": SIZE["width"], "height": end - y}
        self.pictures: list[Image.Image] = []
        self.times: list[int] = []

    def shoot(self, ticks: int = 1, time: int = FRAME) -> None:
        """Takes a picture after some frames of the page."""
        for _ in range(ticks):
            self.page.evaluate("tick()")
        shot = self.page.screenshot(clip=self.part)
        picture = Image.open(io.BytesIO(shot)).convert("RGB")
        x, y = self.mouse[0], self.mouse[1] - self.part["y"]
        ImageDraw.Draw(picture).polygon([(x + a, y + b) for a, b in POINTER], fill="black", outline="white")
        self.pictures.append(picture)
        self.times.append(time)

    def move(self, x: float, y: float, frames: int) -> None:
        """Moves the mouse, fast at first and slowly at the end."""
        fromx, fromy = self.mouse
        for i in range(1, frames + 1):
            share = 1 - (1 - i / frames) ** 2
            self.mouse = (fromx + share * (x - fromx), fromy + share * (y - fromy))
            self.page.mouse.move(*self.mouse)
            self.shoot()

    def click(self, button: str) -> None:
        box = self.page.get_by_role("button", name=button).bounding_box()
        self.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, 6)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, start: tuple[float, float], end: tuple[float, float], frames: int) -> None:
        """Drags a point of the plane in the constrained network's picture."""
        box = self.page.locator("[data-kind=constrained] > canvas").bounding_box()
        start, end = (
            (box["x"] + box["width"] * (x + 2) / 4, box["y"] + box["height"] * (2 - y) / 4) for x, y in (start, end)
        )
        self.move(*start, 7)
        self.page.mouse.down()
        self.move(*end, frames)
        self.page.mouse.up()

    def save(self, path: Path) -> None:
        first, *others = self.pictures
        options = {"duration": self.times, "loop": 0, "quality": QUALITY, "method": 4}
        first.save(path, save_all=True, append_images=others, **options)
        # For readers who want no motion.
        self.pictures[-1].save(path.with_stem(f"{path.stem}-still"), quality=QUALITY)


def play(film: Film) -> None:
    """Both networks learn; a point is dragged among those of the other class; both learn again."""
    film.shoot(time=900)
    film.click("Play")
    for _ in range(28):
        film.shoot(ticks=3, time=100)
    film.click("Pause")
    film.shoot(time=900)
    point = film.page.evaluate("lipvizPlayground.playground.points[0]")
    film.drag((point["x"], point["y"]), (0.1, -0.75), 18)
    film.shoot(time=900)
    film.click("Play")
    film.move(*CORNER, 6)
    for _ in range(26):
        film.shoot(ticks=4, time=100)
    film.shoot(time=2500)


@contextlib.contextmanager
def opened() -> Iterator[Page]:
    """Opens the playground with a clock that stands still."""
    with playground.make_server(0) as server, launched(find_chromium()) as browser:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = browser.new_page(viewport=SIZE, color_scheme="light")
        page.add_init_script(STOPPED_CLOCK)
        page.goto(playground.address(server))
        page.wait_for_function("() => window.lipvizPlayground")
        yield page
        server.shutdown()


def take(path: Path) -> None:
    """Writes the film."""
    with opened() as page:
        film = Film(page)
        play(film)
    film.save(path)
    size = path.stat().st_size
    print(f"{path.name}: {len(film.pictures)} pictures, {sum(film.times) / 1000:.1f} s, {size:,} bytes")
    if size > MOST_BYTES:
        raise SystemExit(f"more than {MOST_BYTES:,} bytes")


if __name__ == "__main__":
    take(Path(sys.argv[1]).absolute())
