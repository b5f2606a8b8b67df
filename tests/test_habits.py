"""What tests are not tied to: prose (`messages.txt` has it once) and the names of constants."""

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PLACES = {path: path.read_text() for path in HERE.rglob("test_*.py") if path != Path(__file__)}
# Replaced in modules, by file; may only fall. Of Python, torch and the system any may be replaced.
CONSTANTS: dict[str, int] = {
    "cli/test_faults.py": 1,
    "cli/test_options.py": 1,
    "data/test_simulation.py": 1,
    "evaluation/test_bootstrap.py": 1,
    "evaluation/test_calibration.py": 2,
    "evaluation/test_lists.py": 3,
    "evaluation/test_negatives.py": 3,
    "evaluation/test_protocol.py": 1,
    "evaluation/test_slices.py": 1,
    "experiments/test_baselines.py": 1,
    "experiments/test_counted_teachers.py": 2,
    "experiments/test_counting.py": 1,
    "experiments/test_integrity.py": 1,
    "experiments/test_options_of_settings.py": 1,
    "losses/test_gathers.py": 2,
    "models/test_counted.py": 1,
    "models/test_encoder_contracts.py": 1,
    "models/test_graph_models.py": 1,
    "serving/test_interests.py": 2,
    "serving/test_recommender.py": 1,
    "serving/test_recommender_times.py": 2,
    "targets/test_contexts.py": 1,
    "targets/test_item2vec.py": 2,
    "targets/test_neighbours.py": 4,
    "targets/test_propagation.py": 4,
    "targets/test_teacher.py": 1,
    "test_docs.py": 1,
    "test_package.py": 1,
    "test_retrieval.py": 1,
    "test_tables.py": 2,
    "training/test_resume.py": 1,
}


def found(pattern):
    """Return how many places of each file fit."""
    counts = {path: len(re.findall(pattern, text)) for path, text in PLACES.items()}
    return {str(path.relative_to(HERE)): count for path, count in counts.items() if count}


@pytest.mark.parametrize("check", ["raises", "warns"])
def test_words_of_errors_are_kept_once(check):
    assert found(rf"pytest\.{check}\([^\n]*\n?[^\n]*\bmatch=") == {}


def test_constants_that_tests_replace():
    assert found(r'setattr\(\s*"?[\w.]+"?[.,]\s*"?(_\w+|[A-Z][A-Z_]+)"') == CONSTANTS
