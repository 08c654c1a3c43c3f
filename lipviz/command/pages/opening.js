// What is being opened is said until its picture is there: Voilà would take this away before there are widgets. Voilà moves the
// widgets out of <main>, into an element of its own.
window.voila_process = window.voila_heartbeat = () => {};
window.voila_finish = () => {
    const cells = document.getElementById("rendered_cells");
    cells.style.display = "";
    const look = () => {
        // In a notebook, an explorer's headings are below those of its sections; here, they are below that of the page.
        cells.querySelectorAll("h4:not([aria-level])").forEach(heading => heading.setAttribute("aria-level", 2));
        cells.querySelectorAll("h5:not([aria-level])").forEach(heading => heading.setAttribute("aria-level", 3));
        if (cells.querySelector(".lipviz-picture img, .lipviz-canvas, .lipviz-alert, .lipviz-cards, pre"))
            document.getElementById("loading")?.remove();
    };
    // Some parts of an explorer are made when they are asked for.
    new MutationObserver(look).observe(cells, {childList: true, subtree: true});
    look();
    const follow = () => {
        const main = document.getElementById("main");
        if (!main?.contains(cells)) return;
        observer.disconnect();
        main.prepend(...document.querySelectorAll("#loading"));
        document.querySelector("main")?.remove();
        main.setAttribute("role", "main");
    };
    const observer = new MutationObserver(follow);
    observer.observe(document.body, {childList: true, subtree: true});
    follow();
};
setTimeout(() => {
    const words = document.querySelector("#loading p:last-child");
    if (words) words.textContent =
        "It takes longer than usual. If nothing comes, reload the page, or look for a message in the terminal.";
}, 60000);
