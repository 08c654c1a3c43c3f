// How wide a panel of an explorer's picture is on the page, and whether all panels have room.

function whenThere(el, action) {
    const stage = el.closest('.lipviz-explorer')?.querySelector('.lipviz-stage');
    if (stage) action(stage);
    else requestAnimationFrame(() => whenThere(el, action));
}

// A key scrolls only what has the focus: the panels get it as long as they are wider than their place.
function letKeysScroll(stage) {
    const isWider = stage.scrollWidth > stage.clientWidth;
    if (isWider === stage.hasAttribute('tabindex')) return;
    const properties = {tabindex: 0, role: 'group', 'aria-label': 'Picture, wider than its place'};
    for (const [name, value] of Object.entries(properties))
        if (isWider) stage.setAttribute(name, value);
        else stage.removeAttribute(name);
}

function render({model, el}) {
    let observer = null;
    whenThere(el, stage => {
        const tell = () => {
            letKeysScroll(stage);
            const width = Math.round(stage.querySelector('img')?.getBoundingClientRect().width ?? 0);
            if (!width || width === model.get('width')) return; // 0: in a tab that is not shown
            model.set('width', width);
            model.save_changes();
        };
        observer = new ResizeObserver(tell);
        for (const element of [stage, ...stage.children]) observer.observe(element);
    });
    return () => observer?.disconnect();
}

export default {render};
