"""Flags that switch a setting of an inner class off: ``--model.template.answer=null``.

The parser hands such a value on as the text "None" (jsonargparse 4.53). As a mapping it arrives.
"""

import json
import re
from collections.abc import Iterator, Sequence

# Settings that hold several objects, which a mapping would replace.
SEVERAL = ("val", "sets", "rewards", "callbacks")
_FLAG = re.compile(r"--(?P<root>\w+)\.(?P<outer>\w+)\.(?P<inner>[\w.]+)=(?:null|~)")


def spell_out_nulls(arguments: Sequence[str]) -> Iterator[str]:
    """The arguments, with ``--a.b.c=null`` as ``--a.b={"c": null}``: b keeps its other settings."""
    for text in arguments:
        found = _FLAG.fullmatch(text.replace(".init_args.", "."))
        if found is None or found["root"] == "trainer" or found["outer"] in SEVERAL:
            yield text
            continue
        value: object = None
        for part in reversed(found["inner"].split(".")):
            value = {part: value}
        yield f"--{found['root']}.{found['outer']}={json.dumps(value)}"
