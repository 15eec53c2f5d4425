"""The hub of a class: JupyterHub's own configuration file, to copy and to change.

`python -m medusa_lib.classroom --write-config FILE` writes this file, and `--config FILE` uses
yours. All that can be set: https://jupyterhub.readthedocs.io/en/stable/reference/config-reference
"""

import os
import sys

from traitlets.config import get_config

from medusa_lib.classroom.settings import read_settings
from medusa_lib.classroom.spawner import MEGABYTE, LearnerSpawner

c = get_config()
told = read_settings()  # what the command line said

# Where all is. The proxy runs beside the hub: a hub that restarts leaves every lesson running.
c.JupyterHub.bind_url = told.url
c.JupyterHub.hub_bind_url = told.hub_url
c.JupyterHub.db_url = f"sqlite:///{told.hub / 'jupyterhub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(told.hub / "cookie_secret")
c.JupyterHub.cleanup_servers = False
c.JupyterHub.cleanup_proxy = False
c.ConfigurableHTTPProxy.should_start = False
c.ConfigurableHTTPProxy.auth_token = told.secret("proxy_token")
c.ConfigurableHTTPProxy.api_url = told.proxy_url

# Who may log in. Any of JupyterHub's authenticators can stand here instead of the list, such as
# "native" with `pip install jupyterhub-nativeauthenticator`, or "pam" for the machine's accounts.
# These also want to be told whom of all to let in: c.Authenticator.allow_all = True, for example.
if told.demo:
    c.JupyterHub.authenticator_class = "dummy"  # any name, no password; on this machine only
else:
    c.JupyterHub.authenticator_class = "medusa_lib.classroom.authenticator.ListAuthenticator"
    c.ListAuthenticator.list_file = str(told.learners or "")
    c.ListAuthenticator.kept_file = str(told.hub / "learners.json")
c.Authenticator.username_pattern = r"^[a-z][a-z0-9_-]{0,30}$"  # a name is a folder's name, too
c.Authenticator.auth_refresh_age = 10  # seconds after which a change of the list holds

# A learner's server: where its folder is, what it may use.
c.JupyterHub.spawner_class = LearnerSpawner
c.LearnerSpawner.work = str(told.work)
c.LearnerSpawner.lessons = str(told.lessons)
c.LearnerSpawner.prepared = str(told.ready)
c.LearnerSpawner.many_users = told.many_users  # each learner a user of the system
c.LearnerSpawner.mem_limit = told.memory * MEGABYTE  # each process; all together twice that
c.LearnerSpawner.threads = 1  # more than cores ÷ learners only slow each other
c.LearnerSpawner.poll_interval = 5  # seconds between two looks at what a learner holds
c.LearnerSpawner.default_url = "/lab/tree/notebooks/STEP0_device.ipynb"
c.LearnerSpawner.disable_user_config = True  # the learner's files configure nothing
c.LearnerSpawner.http_timeout = c.LearnerSpawner.start_timeout = 180
# Extensions of a server that the lessons do not need cost each learner memory and a longer start;
# and of nbgrader, with which the teacher grades at the terminal, learners see no trace. What
# JupyterLab's pages leave out for this is in labconfig/page_config.json beside this file.
TEACHERS = ("formgrader", "validate_assignment", "assignment_list", "course_list")
OFF = ["jupyter_lsp", "jupyter_server_terminals", "notebook", "notebook_shim", "nbclassic"]
OFF += [f"nbgrader.server_extensions.{name}" for name in TEACHERS]
c.LearnerSpawner.args = [
    f"--ServerApp.jpserver_extensions={dict.fromkeys(OFF, False)}",
    "--ServerApp.terminals_enabled=False",
    f"--MappingKernelManager.cull_idle_timeout={told.idle * 60}",  # of closed notebooks
]
c.JupyterHub.concurrent_spawn_limit = max(2, os.cpu_count() or 2)
c.JupyterHub.last_activity_interval = 60

# Two helpers of the hub: one ends what nobody uses, one is the command that ends the class.
TIMES = [f"--timeout={told.idle * 60}", "--cull-every=60"]
c.JupyterHub.services = [
    {"name": "idle", "command": [sys.executable, "-m", "jupyterhub_idle_culler", *TIMES]},
    {"name": "class", "api_token": told.secret("service_token")},
]
CULL = ["list:users", "read:users:activity", "read:servers", "delete:servers"]
c.JupyterHub.load_roles = [
    {"name": "idle", "scopes": CULL, "services": ["idle"]},
    {"name": "class", "scopes": [*CULL, "proxy"], "services": ["class"]},
]
