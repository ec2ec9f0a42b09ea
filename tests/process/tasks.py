"""What children are started for in tests, in a module that they can import."""

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch


def describe(path, *descriptors):
    """Write down how this process finds itself."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    torch.set_num_threads(2)
    torch.ones(600, 600) @ torch.ones(600, 600)
    said = {
        "name": status["Name"], "umask": status["Umask"], "blocked": status["SigBlk"], "ignored": status["SigIgn"],
        "cores": status["Cpus_allowed"], "nice": os.getpriority(os.PRIO_PROCESS, 0),
        "leads its group": os.getpgrp() == os.getpid(),
        "environment": dict(os.environ), "folder": os.getcwd(), "path": sys.path, "arguments": sys.argv,
        "input": os.readlink("/proc/self/fd/0"), "output": os.readlink("/proc/self/fd/1"),
        "errors": os.readlink("/proc/self/fd/2"), "main": sorted(vars(sys.modules["__main__"])),
        "python_threads": sorted(thread.name for thread in threading.enumerate()),
        "torch_threads": torch.get_num_threads(), "encoding": sys.getfilesystemencoding(),
        "flags": [str(sys.flags), sys.warnoptions],
        "descriptors": [os.fstat(each.fileno()).st_ino for each in descriptors],
    }  # fmt: skip
    others = {
        "random": [random.random(), float(np.random.random()), float(torch.rand(1))],
        "modules": sorted(sys.modules), "pid": os.getpid(),
        "files": len(os.listdir("/proc/self/fd")),
    }  # fmt: skip
    write(path, {"said": said, "others": others})


def write(path, what):
    """Write JSON to a file, whole or not at all."""
    Path(f"{path}.part").write_text(json.dumps(what))
    os.replace(f"{path}.part", path)


def say_and_sleep(path):
    """Say that this process is there, then sleep until somebody ends it, or asks it to leave."""
    Path(path).touch()
    while not Path(f"{path}.leave").exists():
        time.sleep(0.01)


def fail(words):
    raise LookupError(words)


def leave(code):
    os._exit(code)


def end_by(number):
    os.kill(os.getpid(), number)


def allocate_again(path):
    """Write how many pages it takes to use, ten times, as much memory as was freed before."""

    def use():
        return [np.ones(200_000, np.float32) for _ in range(6)]

    def pages():
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

    for _ in range(2):
        use()
    before = pages()
    for _ in range(10):
        use()
    write(path, pages() - before)


def look_up(path, module, name):
    """Write down what a module has under a name, None for nothing."""
    write(path, getattr(__import__(module, fromlist=["x"]), name, None))


def run_one(out):
    """Launch a run from this process, whatever it is, and write down how that ended."""
    import workbench as wb

    run = wb.launch(wb.preset("tiny").replace(device="cpu"), lag=1, out=out, name="one")
    write(f"{out}/told", [run.wait(100).status, run.result.digest, threading.current_thread().name])


def die_with_run(out, when):
    """Launch a run and kill this process: at once, or when the run is under way."""
    import workbench as wb

    run = wb.launch(wb.preset("tiny").replace(device="cpu", epochs=1_000_000), lag=1, out=out)
    while when == "later" and run.progress["epochs"] < 3:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)


def launch_a_run(out):
    """What a daemonic process does, which multiprocessing lets have no children of its own."""
    import workbench as wb

    wb.launch(wb.preset("tiny").replace(device="cpu", epochs=4), lag=1, name="mine", out=out).wait(120)
