// What is being opened is said until its picture is there: Voilà would take this away before there are widgets. Voilà moves the
// widgets out of <main>, into an element of its own.
window.voila_process = window.voila_heartbeat = () => {};
window.voila_finish = () => {
    const cells = document.getElementById("rendered_cells");
    cells.style.display = "";
    const look = () => {
        if (!cells.querySelector(".lipviz-picture img, .lipviz-canvas, .lipviz-alert, .lipviz-cards, pre")) return;
        observer.disconnect();
        document.querySelector("main:not(:has(#rendered_cells))")?.remove();
        document.getElementById("loading")?.remove();
        document.getElementById("main")?.setAttribute("role", "main");
        // In a notebook, an explorer's headings are below those of its sections; here, they are below that of the page.
        cells.querySelectorAll("h4").forEach(heading => heading.setAttribute("aria-level", 2));
        cells.querySelectorAll("h5").forEach(heading => heading.setAttribute("aria-level", 3));
    };
    const observer = new MutationObserver(look);
    observer.observe(cells, {childList: true, subtree: true});
    look();
};
setTimeout(() => {
    const words = document.querySelector("#loading p:last-child");
    if (words) words.textContent =
        "It takes longer than usual. If nothing comes, reload the page, or look for a message in the terminal.";
}, 60000);
