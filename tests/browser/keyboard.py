"""Walk over a page by the Tab key, as readers do who use no mouse."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Stop:
    """An element that got the focus.

    Attributes:
        element: its name, classes, and first words.
        is_seen: whether it, or a part of it, is in the window, and nothing covers it.
        is_marked: whether it, or what it is in, looks different while it has the focus.
    """

    element: str
    is_seen: bool
    is_marked: bool


def walk(page, most: int = 500, key: str = "Tab") -> list[Stop]:
    """Presses a key until the focus leaves the page.

    Args:
        page: a page of playwright, best one whose reader wants no motion: then nothing is on its way.
        most: number of presses after which the focus counts as trapped.
        key: Tab, or Shift+Tab for the way back.

    Returns:
        The stops on the way.

    Raises:
        AssertionError: the focus does not leave the page, or comes to no other element.
    """
    page.evaluate("() => { delete window.lipvizLastStop; }")
    stops: list[Stop] = []
    for _ in range(most):
        page.keyboard.press(key)
        found = page.evaluate(_LOOK)
        if found is None:
            return stops
        assert not found.pop("isLast"), f"the focus is trapped in {found['element']}"
        stops.append(Stop(found["element"], found["isSeen"], found["isMarked"]))
    raise AssertionError(f"after {most} presses of {key}, the focus is still on the page: {stops[-3:]}")


def lost(stops: list[Stop]) -> list[Stop]:
    """Lists the stops at which readers do not see where they are."""
    return [stop for stop in stops if not (stop.is_seen and stop.is_marked)]


# The mark of the focus is a difference of styles, with the focus and without it, of the element or of what it is in. An
# element of several lines is seen if one of its boxes is; what a frame holds is looked at in a page of its own.
_LOOK = """async () => {
    const settled = () => new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)));
    await settled();
    const element = document.activeElement;
    if (!element || element === document.body || element === document.documentElement) return null;
    const isLast = element === window.lipvizLastStop && element.tagName !== 'IFRAME';
    window.lipvizLastStop = element;
    const isInside = ([x, y]) => x >= 0 && y >= 0 && x < innerWidth && y < innerHeight;
    const middle = box => [(Math.max(box.left, 0) + Math.min(box.right, innerWidth)) / 2,
        (Math.max(box.top, 0) + Math.min(box.bottom, innerHeight)) / 2];
    const isSeen = [...element.getClientRects()].filter(box => box.width && box.height).map(middle).some(point => {
        if (!isInside(point)) return false;
        const there = document.elementFromPoint(...point);
        return there && (element.contains(there) || there.closest('a, label, button')?.contains(element));
    });
    const around = [];
    for (let one = element; one && around.length < 5; one = one.parentElement) around.push(one);
    const look = () => around.map(one => {
        const {outline, boxShadow, borderColor, backgroundColor, color, textDecoration} = getComputedStyle(one);
        return [outline, boxShadow, borderColor, backgroundColor, color, textDecoration].join();
    });
    const marked = look();
    element.blur();
    const unmarked = look();
    element.focus({preventScroll: true});
    const words = (element.ariaLabel || element.textContent || element.title || '').trim().slice(0, 40);
    return {isLast, isSeen, isMarked: element.tagName === 'IFRAME' || look().some((one, i) => one !== unmarked[i])
        || marked.some((one, i) => one !== unmarked[i]), element: `${element.tagName} ${element.className} ${words}`};
}"""
