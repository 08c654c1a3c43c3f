// The picture of an explorer: PNG images in, pixels out. Beside that, it tells the kernel where a slider is that is being
// dragged, and gives the sliders names and values for screen readers.

// A picture that comes while another one is decoded waits; of several that wait, only the newest is shown.
function newestOnly(paint) {
    let busy = false, waits = false;
    return async () => {
        waits = true;
        if (busy) return;
        busy = true;
        while (waits) {
            waits = false;
            await paint();
        }
        busy = false;
    };
}

function areEqual(one, other) {
    if (one?.byteLength !== other.byteLength) return false;
    for (let i = 0; i < one.byteLength; i++) if (one.getUint8(i) !== other.getUint8(i)) return false;
    return true;
}

// Decoded before it takes the place of the one before, so that no frame is blank.
async function decoded(png) {
    const image = new Image();
    image.src = URL.createObjectURL(new Blob([png], {type: 'image/png'}));
    await image.decode().catch(() => {});
    return image.src;
}

function show(model, el) {
    const images = [], shown = [];
    return newestOnly(async () => {
        const panels = model.get('panels'), widths = model.get('widths'), alt = model.get('alt');
        const sources = await Promise.all(panels.map((png, i) => areEqual(shown[i], png) ? null : decoded(png)));
        panels.forEach((png, i) => {
            images[i] ??= el.appendChild(document.createElement('img'));
            images[i].alt = i ? '' : alt;
            Object.assign(images[i].style, {width: `${widths[i]}px`, maxWidth: '100%', height: 'auto'});
            if (!sources[i]) return;
            URL.revokeObjectURL(images[i].src);
            images[i].src = sources[i];
            shown[i] = png;
        });
        for (const image of images.splice(panels.length)) image.remove();
        shown.length = panels.length;
    });
}

// The label of a slider belongs to no control, and the handle tells a screen reader its position, which is the exponent
// on a logarithmic slider.
function nameSlider(slider) {
    if (slider.dataset.named) return;
    const handle = slider.querySelector('.noUi-handle'), readout = slider.querySelector('.widget-readout');
    if (!handle || !readout) return;
    slider.dataset.named = 'yes';
    const tell = () => handle.getAttribute('aria-valuetext') === readout.textContent ||
        handle.setAttribute('aria-valuetext', readout.textContent);
    handle.setAttribute('aria-label', slider.querySelector('.widget-label').textContent);
    new MutationObserver(tell).observe(slider, {subtree: true, childList: true, characterData: true,
        attributeFilter: ['aria-valuetext']});
    tell();
}

// While a slider is dragged, its positions go to the kernel, a few ahead of the pictures that answer them. Of those that
// must wait only the newest is sent. The value at the end is not sent here: the slider itself sends it.
const AHEAD = 3;

function watchDrags(model, box) {
    let sent = 0, waiting = null;
    const send = () => {
        if (!waiting || sent - model.get('answered') >= AHEAD) return;
        model.send({...waiting, number: ++sent});
        waiting = null;
    };
    model.on('change:answered', send);
    box.addEventListener('pointerdown', event => {
        const slider = event.target.closest('.noUi-handle') && event.target.closest('.noUi-target').noUiSlider;
        const name = event.target.closest('.widget-slider')?.className.match(/lipviz-control-(\S+)/)?.[1];
        if (!slider || !name) return;
        sent = model.get('answered');
        slider.on('slide.lipviz', (_values, handle, positions) => {
            waiting = {name, position: positions[handle]};
            send();
        });
        // The slider says so, too, where the mouse has left the window.
        slider.on('end.lipviz', () => {
            slider.off('.lipviz');
            waiting = null;
            model.send({});
        });
    }, {capture: true});
    model.send({}); // a page that was closed in the middle of a drag could not say so
    return () => model.off('change:answered', send);
}

function whenInPage(el, action) {
    const box = el.closest('.lipviz-explorer');
    if (box) action(box);
    else requestAnimationFrame(() => whenInPage(el, action));
}

const PARTS = ['panels', 'widths', 'alt'];

function render({model, el}) {
    el.classList.add('lipviz-picture');
    const update = show(model, el);
    let forget = () => {};
    PARTS.forEach(part => model.on(`change:${part}`, update));
    update();
    whenInPage(el, box => {
        const nameAll = () => box.querySelectorAll('.widget-slider').forEach(nameSlider);
        nameAll();
        new MutationObserver(nameAll).observe(box, {subtree: true, childList: true});
        forget = watchDrags(model, box);
    });
    return () => {
        PARTS.forEach(part => model.off(`change:${part}`, update));
        forget();
    };
}

export default {render};
