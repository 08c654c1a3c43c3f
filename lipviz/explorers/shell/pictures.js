// The picture of an explorer: PNG images in, pixels out. Beside that, it tells the kernel where a slider is that is being
// dragged, itself or by a panel that is its handle, and gives the sliders names and values for screen readers.

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
        for (const [i, image] of images.entries()) {
            const isHandle = model.get('grips').some(grip => grip.panel === i);
            Object.assign(image.style, isHandle ? {cursor: 'ew-resize', touchAction: 'pan-y'} : {cursor: '', touchAction: ''});
        }
    };
}

// The label of a slider belongs to no control, and the handle tells a screen reader its position, which is the exponent
// on a logarithmic slider. The handle of a slider that is greyed out would still get the focus.
function nameSlider(slider) {
    if (slider.dataset.named) return;
    const handle = slider.querySelector('.noUi-handle'), readout = slider.querySelector('.widget-readout');
    if (!handle || !readout) return;
    slider.dataset.named = 'yes';
    const tell = () => {
        if (handle.getAttribute('aria-valuetext') !== readout.textContent)
            handle.setAttribute('aria-valuetext', readout.textContent);
        const isDisabled = slider.querySelector('.noUi-target').hasAttribute('disabled');
        handle.tabIndex = isDisabled ? -1 : 0;
        handle.ariaDisabled = String(isDisabled);
    };
    handle.setAttribute('aria-label', slider.querySelector('.widget-label').textContent);
    new MutationObserver(tell).observe(slider, {subtree: true, childList: true, characterData: true,
        attributeFilter: ['aria-valuetext', 'disabled']});
    tell();
}

// The headings of an explorer are below the last heading before it, which may be of any level.
function levelHeadings(box) {
    const page = box.closest('.jp-Notebook') ?? document;
    const isBefore = heading => heading.offsetParent && !box.contains(heading) &&
        heading.compareDocumentPosition(box) & Node.DOCUMENT_POSITION_FOLLOWING;
    const last = [...page.querySelectorAll('h1, h2, h3, h4, h5, h6')].filter(isBefore).at(-1);
    const level = last ? Number(last.ariaLevel ?? last.tagName[1]) : 3;
    for (const [name, below] of [['h4', 1], ['h5', 2]])
        box.querySelectorAll(`${name}:not([aria-level])`).forEach(heading => {
            heading.ariaLevel = Math.min(level + below, 6);
        });
}

// While a slider is dragged, its positions go to the kernel, a few ahead of the pictures that answer them. Of those that
// must wait only the newest is sent. The value at the end is not sent here: the slider itself sends it.
const AHEAD = 3;

class Drags {
    sent = 0;
    waiting = null;

    constructor(model) {
        this.model = model;
        this.send = this.send.bind(this);
        model.on('change:answered', this.send);
    }

    send() {
        if (!this.waiting || this.sent - this.model.get('answered') >= AHEAD) return;
        this.model.send({...this.waiting, number: ++this.sent});
        this.waiting = null;
    }

    begin() {
        this.sent = this.model.get('answered');
    }

    tell(name, position) {
        this.waiting = {name, position};
        this.send();
    }

    end(last = {}) {
        this.waiting = null;
        this.model.send(last);
    }

    forget() {
        this.model.off('change:answered', this.send);
    }
}

function watchSliders(drags, box) {
    box.addEventListener('pointerdown', event => {
        const slider = event.target.closest('.noUi-handle') && event.target.closest('.noUi-target').noUiSlider;
        const name = event.target.closest('.widget-slider')?.className.match(/lipviz-control-(\S+)/)?.[1];
        if (!slider || !name) return;
        drags.begin();
        slider.on('slide.lipviz', (_values, handle, positions) => drags.tell(name, positions[handle]));
        // The slider says so, too, where the mouse has left the window.
        slider.on('end.lipviz', () => {
            slider.off('.lipviz');
            drags.end();
        });
    }, {capture: true});
}

// A panel that is the handle of a slider moves it along its axis. The slider gets the focus: arrow keys go on from there.
function watchPanels(model, drags, box, el) {
    const gripOf = image => model.get('grips').find(grip => grip.panel === [...el.children].indexOf(image));
    el.addEventListener('dragstart', event => event.preventDefault());
    el.addEventListener('pointerdown', event => {
        const image = event.target, grip = gripOf(image);
        const target = grip && box.querySelector(`.lipviz-control-${grip.name} .noUi-target`);
        if (!target || target.hasAttribute('disabled') || event.button !== 0) return;
        const {name, left, right, low, high} = grip, slider = target.noUiSlider;
        let position = slider.get(true); // kept here: the answer to an older drag may still move the slider
        const follow = ({clientX}) => {
            const bounds = image.getBoundingClientRect();
            const share = ((clientX - bounds.left) / bounds.width - left) / (right - left);
            slider.set(low + share * (high - low)); // it stays between its ends, at one of its steps
            position = slider.get(true);
            drags.tell(name, position);
        };
        const end = () => {
            for (const kind of ['pointermove', 'pointerup', 'pointercancel']) image.removeEventListener(kind, onPointer);
            slider.set(position);
            drags.end({name, position});
            target.querySelector('.noUi-handle').focus({preventScroll: true});
        };
        const onPointer = moved => (moved.type === 'pointermove' ? follow(moved) : end());
        for (const kind of ['pointermove', 'pointerup', 'pointercancel']) image.addEventListener(kind, onPointer);
        image.setPointerCapture(event.pointerId);
        drags.begin();
        follow(event);
    });
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
        const nameAll = () => {
            box.querySelectorAll('.widget-slider').forEach(nameSlider);
            if (box.querySelector(':is(h4, h5):not([aria-level])')) levelHeadings(box);
        };
        const observer = new MutationObserver(nameAll);
        observer.observe(box, {subtree: true, childList: true});
        nameAll();
        // At the first drag all controls are there: the texts that change from then on need not be looked at.
        box.addEventListener('pointerdown', () => observer.disconnect(), {capture: true, once: true});
        const drags = new Drags(model);
        watchSliders(drags, box);
        watchPanels(model, drags, box, el);
        drags.end(); // a page that was closed in the middle of a drag could not say so
        forget = () => drags.forget();
    });
    return () => {
        model.off('change', update);
        forget();
    };
}

export default {render};
