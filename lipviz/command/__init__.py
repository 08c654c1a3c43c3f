"""What the `lipviz` command opens and runs: JupyterLab, explorers as an app, an examination, benchmarks."""
