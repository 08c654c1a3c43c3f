"""Reports: what is proved about a classifier as a page to read, HTML, and as figures to compute with, JSON.

```python
evaluation = lipviz.recipes.evaluate(model, x_test, y_test)
lipviz.reports.write(evaluation, "report.html")
```

The page is one file without scripts. `lipviz report MODEL DATA` writes it for a saved model and a data file. The keys
of the JSON file are those of `lipviz.recipes.Evaluation.to_dict`.
"""

from lipviz.reports.files import write
from lipviz.reports.page import html_page

__all__ = ["html_page", "write"]
