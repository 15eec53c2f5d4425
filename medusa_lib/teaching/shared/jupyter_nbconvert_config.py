"""`jupyter nbconvert --to html` of a lesson shows its panels recorded. Goes to etc/jupyter.

A notebook without a panel of ours is not touched, nor one that lies elsewhere than the lessons:
its cells are not run. Whatever fails, the page keeps the panel's sentence.
"""

import sys

c = get_config()  # noqa: F821 (jupyter gives it)


def has_panel(notebook):  # noqa: ANN001, ANN201 (of nbconvert's own types)
    """True if a stored output begins as our panels' sentences do."""
    outputs = (one for cell in notebook.cells for one in cell.get("outputs", ()))
    texts = (one.get("data", {}).get("text/plain", "") for one in outputs)
    return any(text.startswith("Panel: ") for text in texts)


def record_panels(notebook, resources):  # noqa: ANN001, ANN201
    """A preprocessor: recorded panels in place of widgets."""
    try:
        if has_panel(notebook):  # a foreign notebook must not wait for all of the library
            from medusa_lib.teaching.shared import cells  # noqa: PLC0415

            if cells.is_lesson(resources.get("metadata", {}).get("path")):
                cells.put_panels(notebook, cells.record_notebook(notebook))
    except Exception as error:
        print(f"panels not recorded: {error!r}", file=sys.stderr)
    return notebook, resources


c.HTMLExporter.preprocessors = [record_panels]
