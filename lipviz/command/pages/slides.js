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
