// How wide a panel of an explorer's picture is on the page.

function whenThere(el, action) {
    const stage = el.closest('.lipviz-explorer')?.querySelector('.lipviz-stage');
    if (stage) action(stage);
    else requestAnimationFrame(() => whenThere(el, action));
}

function render({model, el}) {
    let observer = null;
    whenThere(el, stage => {
        const tell = () => {
            const width = Math.round(stage.querySelector('img')?.getBoundingClientRect().width ?? 0);
            if (!width || width === model.get('width')) return; // 0: in a tab that is not shown
            model.set('width', width);
            model.save_changes();
        };
        observer = new ResizeObserver(tell);
        observer.observe(stage);
    });
    return () => observer?.disconnect();
}

export default {render};
