// The picture of an explorer: PNG images in, pixels out. Beside that, it tells the kernel where a slider is that is being
// dragged, and gives the sliders names and values for screen readers.

const CHUNK = 0x8000; // bytes: a function takes only so many arguments

// Not the address of a blob: the browser would ask another of its processes for each picture, and the last one would be
// gone with the page that made it.
function dataURL(png) {
    const bytes = new Uint8Array(png.buffer, png.byteOffset, png.byteLength), parts = [];
    for (let i = 0; i < bytes.length; i += CHUNK) parts.push(String.fromCharCode(...bytes.subarray(i, i + CHUNK)));
    return `data:image/png;base64,${btoa(parts.join(''))}`;
}

// An image keeps what it shows until the next picture is there, so no frame is blank.
function newImage(el) {
    const image = Object.assign(document.createElement('img'), {decoding: 'sync'});
    Object.assign(image.style, {maxWidth: '100%', height: 'auto'});
    return el.appendChild(image);
}

function show(model, el) {
    const images = [];
    return () => {
        const panels = model.get('panels');
        for (const image of images.splice(panels.length)) image.remove();
        panels.forEach((png, i) => {
            const image = images[i] ??= newImage(el), source = dataURL(png);
            image.style.width = `${model.get('widths')[i]}px`;
            image.alt = i ? '' : model.get('alt');
            if (image.src !== source) image.src = source;
        });
    };
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

function render({model, el}) {
    el.classList.add('lipviz-picture');
    const update = show(model, el);
    let forget = () => {};
    model.on('change', update); // once for all that one message changes
    update();
    whenInPage(el, box => {
        const nameAll = () => box.querySelectorAll('.widget-slider').forEach(nameSlider);
        const observer = new MutationObserver(nameAll);
        observer.observe(box, {subtree: true, childList: true});
        nameAll();
        // At the first drag all controls are there: the texts that change from then on need not be looked at.
        box.addEventListener('pointerdown', () => observer.disconnect(), {capture: true, once: true});
        forget = watchDrags(model, box);
    });
    return () => {
        model.off('change', update);
        forget();
    };
}

export default {render};
