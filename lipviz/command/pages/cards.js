// A kernel has to start before the next page begins to come: the card and a screen reader say at once what is opened.
for (const link of document.querySelectorAll(".lipviz-card a"))
    link.addEventListener("click", event => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return; // in another tab
        link.closest(".lipviz-card").classList.add("lipviz-is-opening");
        document.getElementById("lipviz-status").textContent = `Opening ${link.textContent} …`;
    });
addEventListener("pageshow", () => { // also by the browser's button back
    document.querySelector(".lipviz-is-opening")?.classList.remove("lipviz-is-opening");
    document.getElementById("lipviz-status").textContent = "";
});
