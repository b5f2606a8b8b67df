"""softrec beside other libraries: the same data, split and sizes, and one evaluator for all.

    python -m benchmarks.peers setup            # an environment for each library
    python -m benchmarks.peers run sasrec mf    # needs those that `setup` has made
    python -m benchmarks.peers.adapters replay  # SASRec of a library with softrec's targets

Each library has an environment and a process of its own (`worker.py`), and its script,
`with_NAME.py`, imports nothing of softrec but the adapters. Epochs of the processes alternate, so
that whatever disturbs the machine disturbs all. Each process writes its top-k lists, and
`softrec.evaluate_lists` evaluates them. `check_NAME.py` is run by tests/adapters.
"""
