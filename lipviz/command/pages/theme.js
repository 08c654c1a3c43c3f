// Light or dark: what the reader has chosen here, else what the system prefers.
window.lipvizTheme = {
    system: matchMedia("(prefers-color-scheme: dark)"),
    isDark() {
        const chosen = localStorage.getItem("lipviz-theme");
        return chosen ? chosen === "dark" : this.system.matches;
    },
    show() {
        const theme = this.isDark() ? "dark" : "light";
        document.documentElement.dataset.theme = theme;
        for (const sheet of document.querySelectorAll("link[data-theme]"))
            sheet.media = sheet.dataset.theme === theme ? "all" : "not all";
        document.getElementById("lipviz-theme")?.setAttribute("aria-pressed", theme === "dark");
        if (document.body) document.body.dataset.jpThemeLight = theme === "light";
    },
    connect(button) {
        button.addEventListener("click", () => {
            localStorage.setItem("lipviz-theme", this.isDark() ? "light" : "dark");
            this.show();
        });
        this.system.addEventListener("change", () => this.show());
        addEventListener("storage", () => this.show()); // another tab
        this.show();
    },
};
lipvizTheme.show();
