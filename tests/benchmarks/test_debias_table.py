import sys
from pathlib import Path

from near import within

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
import debias

DOCS = Path(__file__).parents[2] / "docs" / "algorithms.md"


def test_the_docs_have_the_tables_arithmetic():
    assert debias.hopeless_table() in DOCS.read_text()


def test_the_figures_of_a_log():
    rows = [
        {"frac_reward_zero_std": str(share), "curriculum/effective_sample_size": str(size)}
        for share, size in [(1.0, 40), (0.5, 30), *[(0.25, 20)] * 20]
    ]
    found = debias.summary([{"frac_reward_zero_std": ""}, *rows, {"step": "3"}])
    within(found.informative, (0 + 0.5 + 20 * 0.75) / 22, 1e-3)
    assert (found.informative_last, found.sample_size) == (0.75, 20)
    assert debias.table({("`A`", True): [found, found]}).splitlines()[2] == (
        "| `A` | true | 0.70; 0.70 | 0.75; 0.75 | 20; 20 |"
    )
