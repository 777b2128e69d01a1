"""Work for processes of a test, with nothing to import that takes time."""

import os
import time


def work(job):
    if job == "breaks":
        raise ValueError("broken")
    if job == "ends":
        os._exit(3)
    if job == "lasts":
        time.sleep(600)
    return job * 2


def nothing():
    pass
