"""The `lipviz` command: JupyterLab, explorers as an app, a check of the installation, benchmarks."""
