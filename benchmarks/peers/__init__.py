"""softrec beside other libraries: the same data, split and sizes, and one evaluator for all.

    python -m benchmarks.peers setup            # an environment for each library
    python -m benchmarks.peers run sasrec mf    # needs those that `setup` has made

Each library has an environment and a process of its own (`worker.py`), and its script,
`with_NAME.py`, imports nothing of softrec. Epochs of the processes alternate, so that whatever
disturbs the machine disturbs all. Each process writes its top-k lists, and
`softrec.evaluate_lists` evaluates them.
"""
