# @title Google Colab only: installs the course there, does nothing anywhere else
import importlib.util
import subprocess
import sys

if "google.colab" in sys.modules:
    from google.colab import output

    repository = ""  # @param {type:"string"}
    if importlib.util.find_spec("medusa_lib") is None:
        if repository.count("/") != 1:
            raise ValueError("repository must be OWNER/NAME of the course's copy on GitHub")
        course = f"medusa-lib[colab] @ git+https://github.com/{repository}"
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", course], check=True)
    output.enable_custom_widget_manager()  # without it Colab draws no sliders of ipywidgets 8
