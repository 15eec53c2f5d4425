"""A class of learners on one machine: `python -m medusa_lib.classroom --learners FILE`.

JupyterHub with a server for each learner. Nothing here imports torch: the hub, its proxy and the
learners' servers stay small, and only kernels pay for the model.
"""
