"""Where the trainings of a command are done.

A command that needs many trainings makes a task of each, and gives all of them to an executor,
which is the only one that knows where they are done. The outcomes are the same everywhere.

    base   a task, what an executor is, and which there are
    here   one after the other in this process
    on_ray on the CPUs of this machine or of a Ray cluster, several at a time
    worker what happens to a task there, and what it tells
"""

from softrec.experiments.executors.base import Executor, On, Task, executor, results

__all__ = ["Executor", "On", "Task", "executor", "results"]
