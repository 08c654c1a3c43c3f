// Slides of 1280 × 720 pixels. What is too long for one is set smaller, and scrolls if that is not enough.
const HEIGHT = 720, SMALLEST = 19, NORMAL = 28;

function fit(slide) {
    slide.classList.remove("long");
    let size = NORMAL;
    slide.style.fontSize = `${size}px`;
    while (slide.scrollHeight > HEIGHT && size > SMALLEST) {
        slide.style.fontSize = `${--size}px`;
    }
    slide.classList.toggle("long", slide.scrollHeight > HEIGHT);
}

// On paper all slides are laid out at once, and what is too high for its page would go on on the next one.
function fitAll() {
    const page = document.documentElement;
    page.classList.add("measured");
    for (const slide of document.querySelectorAll(".slides section")) {
        if (!slide.querySelector("section")) {
            fit(slide);
            slide.classList.remove("long");
        }
    }
    page.classList.remove("measured");
}

if (/print-pdf/i.test(location.search)) {
    fitAll();
}

Reveal.initialize({
    width: 1280,
    height: HEIGHT,
    margin: 0,
    center: false,
    hash: true,
    slideNumber: "c/t",
    transition: "none",
    plugins: [RevealNotes],
}).then(() => {
    fit(Reveal.getCurrentSlide());
    Reveal.on("slidechanged", event => fit(event.currentSlide));
    for (const folded of document.querySelectorAll("details")) {
        folded.addEventListener("toggle", () => fit(folded.closest("section")));
    }
});
