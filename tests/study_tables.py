"""A study's table made by hand: two arms, two bases, two seeds, three questions."""

import pyarrow as pa
import pyarrow.parquet as pq

from fgexpo.study.table import CORRECT, KL_COEF, SCHEMA

N = 32
QUESTIONS = ("q1", "q2", "q3")
# Correct samples of the three questions by arm and validation, before what a run adds to the last.
COUNTS = {"grpo": {0: (0, 8, 16), 10: (0, 16, 24)}, "akl": {0: (0, 8, 16), 10: (4, 16, 24)}}


def write_study_table(path):
    """Each run's last counts are those of its arm plus its seed."""
    rows = []
    for arm, by_step in COUNTS.items():
        for base in (0, 1):
            for seed in (0, 1):
                who = {"point": "", "arm": arm, "base": base, "seed": seed}
                rows.append({**who, "tag": KL_COEF, "step": 0, "rollouts": 0, "value": 0.02})
                for step in range(1, 11):
                    spent = {"step": step, "rollouts": 256 * step, "seconds": 2.0 * step}
                    logged = {"kl": 0.01 * step, "curriculum/effective_sample_size": 240.0}
                    logged |= {"frac_reward_zero_std": 0.25, "entropy": 1.0, "accuracy": 0.5}
                    if arm == "akl":
                        logged["akl/kl_coef"] = 0.01 if step <= 5 else 0.02
                    rows += [{**who, **spent, "tag": t, "value": v} for t, v in logged.items()]
                for step, counts in by_step.items():
                    spent = {"step": step, "rollouts": 256 * step, "updates": 2 * step}
                    spent |= {"seconds": 2.0 * step, "n": N, "tag": CORRECT}
                    for question, count in zip(QUESTIONS, counts, strict=True):
                        value = count + (seed if step else 0)
                        rows.append({**who, **spent, "question": question, "value": value})
    columns = {name: [row.get(name) for row in rows] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), path)
